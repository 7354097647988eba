"""What each target of a build asks for, and the identities that follow from it alone."""

from dataclasses import dataclass
from functools import cached_property

from nacelle_engine.abi import abi_of
from nacelle_engine.canonical import digest
from nacelle_engine.recipe import ANY_PRODUCT, Parallelism, Recipe, Toolchain, request_key
from nacelle_engine.request import BuildRequest, FolderSource, HuggingFaceSource
from nacelle_operator.api.engine_build import EngineBuild, EngineBuildSpec
from nacelle_operator.api.model_source import ModelSource
from nacelle_operator.api.target import Target
from nacelle_operator.objects.job_pod import SOURCE_MOUNT, STORE_MOUNT
from nacelle_operator.objects.names import job_name, prepare_job_name


@dataclass(frozen=True)
class TargetRequest:
    """One target's request; `immutable` says that its key stands for the content of the model,
    and of the texts it is calibrated on, too."""

    target: Target
    request: BuildRequest
    immutable: bool
    store_claim: str

    @property
    def key(self) -> str:
        """The request key: source, recipe and toolchain."""
        return self.request.request_key

    @cached_property
    def job(self) -> str:
        """The name of the Job that publishes."""
        return job_name(self._job_key)

    @property
    def prepare_job(self) -> str:
        """The name of the Job before it, which holds no GPU; targets without one have none."""
        return prepare_job_name(self._job_key) if self.prepares_until else ""

    @property
    def jobs(self) -> tuple[str, ...]:
        """The names of all Jobs, in their order."""
        return (self.prepare_job, self.job) if self.prepares_until else (self.job,)

    @property
    def prepares_until(self) -> str:
        """The last stage of the builder's that holds no GPU; empty: one Job does it all.

        What is calibrated is run, and converted only after that.
        """
        if self.target.architecture.is_cpu:
            return ""
        return "source" if self.request.recipe.quantization.calibrated else "convert"

    @property
    def _job_key(self) -> str:
        """The same for builds that ask for the same, into the same store, within the same bounds.
        Other bounds are other Jobs, as their answer can be another one."""
        return digest(
            {
                "request": self.key,
                "store": self.store_claim,
                "accuracy": self.request.accuracy.model_dump(mode="json", by_alias=True),
            }
        )


def todays_toolchain(build: EngineBuild, current: Toolchain) -> Toolchain:
    """Today's builder, for the build's backend."""
    return current.model_copy(update={"abi": abi_of(build.spec.backend, current.abi)})


def pinned_toolchain(build: EngineBuild, current: Toolchain) -> Toolchain:
    """The builder of this generation: the one in its status, or today's for a new generation."""
    status = build.status
    if status.toolchain is None or status.observed_generation != build.metadata.generation:
        return todays_toolchain(build, current)
    return Toolchain(builder_image=status.toolchain.builder_image, abi=status.toolchain.abi)


def target_requests(build: EngineBuild, current: Toolchain) -> tuple[TargetRequest, ...]:
    """The requests of all targets, in the spec's order."""
    toolchain = pinned_toolchain(build, current)
    return tuple(_target_request(build.spec, target, toolchain) for target in build.spec.targets)


def wanted_jobs(build: EngineBuild, current: Toolchain) -> frozenset[str]:
    """The names of all Jobs that the build may need; none while it is suspended or going."""
    if build.spec.suspend or build.metadata.deletion_timestamp:
        return frozenset()
    requests = target_requests(build, current)
    return frozenset(name for request in requests for name in request.jobs)


def _target_request(spec: EngineBuildSpec, target: Target, toolchain: Toolchain) -> TargetRequest:
    recipe = Recipe(
        architecture=target.architecture,
        backend=spec.backend,
        gpu_product=target.gpu_products[0] if len(target.gpu_products) == 1 else ANY_PRODUCT,
        quantization=spec.quantization,
        determinism=spec.determinism,
        limits=spec.limits,
        parallelism=Parallelism.model_validate(spec.parallelism.plain()),
    )
    source = _source(spec.model)
    request = BuildRequest(
        model_name=spec.model_name,
        hugging_face=_hub(spec.model),
        folder=_folder(spec.model),
        recipe=recipe,
        accuracy=spec.accuracy,
        store=STORE_MOUNT,
        request_key=request_key(source, recipe, toolchain),
    )
    return TargetRequest(
        target=target,
        request=request,
        immutable=("revision" in source or "digest" in source) and not _own_texts(recipe),
        store_claim=spec.store.persistent_volume_claim.claim_name,
    )


def _own_texts(recipe: Recipe) -> bool:
    """Whether a file that the request only names decides static scales."""
    calibration = recipe.quantization.calibration
    return calibration is not None and calibration.path is not None


def _source(model: ModelSource) -> dict[str, str]:
    if model.hugging_face:
        return {"repo": model.hugging_face.repo, "revision": model.hugging_face.revision}
    claim = model.persistent_volume_claim
    assert claim is not None, "the schema demands exactly one source"
    source = {"claimName": claim.claim_name, "path": claim.path}
    return {**source, "digest": claim.digest} if claim.digest else source


def _hub(model: ModelSource) -> HuggingFaceSource | None:
    hub = model.hugging_face
    return HuggingFaceSource(repo=hub.repo, revision=hub.revision) if hub else None


def _folder(model: ModelSource) -> FolderSource | None:
    claim = model.persistent_volume_claim
    if claim is None:
        return None
    path = f"{SOURCE_MOUNT}/{claim.path}".rstrip("/")
    return FolderSource(path=path, digest=claim.digest)


def claims_of(spec: EngineBuildSpec) -> tuple[str, ...]:
    """The claims that the build's pods mount: the source's, if it is one, and the store's."""
    source = spec.model.persistent_volume_claim
    store = spec.store.persistent_volume_claim.claim_name
    return tuple(dict.fromkeys((*((source.claim_name,) if source else ()), store)))
