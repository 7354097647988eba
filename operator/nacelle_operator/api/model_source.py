"""Where a model comes from: a hub repository at one revision, or a folder in a claim."""

from typing import Annotated, ClassVar

from pydantic import Field

from nacelle_operator.api.placement import KeyRef
from nacelle_operator.api.schema import ApiModel, Digest, Foreign, Name, Rule, not_built


class HuggingFaceModel(ApiModel):
    """A repository of a Hugging Face hub, pinned to one revision."""

    repo: Annotated[str, Field(max_length=256, pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?$")]
    """The repository, such as HuggingFaceTB/SmolLM2-135M-Instruct."""

    revision: Annotated[str, Field(min_length=40, max_length=40, pattern=r"^[0-9a-f]{40}$")]
    """The commit, as 40 hex digits: a branch or tag could move under a finished build."""

    token_secret_ref: KeyRef | None = None
    """The Secret with the hub's token; only gated or private models need it."""

    endpoint: Annotated[str, Field(max_length=2048, pattern=r"^https?://[^\s]+$")] | None = None
    """Another hub than huggingface.co, such as a mirror."""

    ca_bundle_ref: KeyRef | None = None
    """The ConfigMap key with the certificates (PEM) that the hub's certificate is checked by."""


class ClaimModel(ApiModel):
    """A Hugging Face checkpoint in a folder of a claim of the namespace."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.path) || (!self.path.startsWith('/') "
            "&& !self.path.split('/').exists(part, part == '..'))",
            "path must be relative to the claim's root and stay inside it",
        ),
    )

    claim_name: Name
    """The PersistentVolumeClaim."""

    path: Annotated[str, Field(max_length=512)] = ""
    """The checkpoint's folder in the claim; empty for its root."""

    digest: Digest | None = None
    """The checkpoint's digest. With it the operator knows at once when the engine exists already;
    without it a Job reads the folder first, and ends at once when it does."""


class ModelSource(ApiModel):
    """Exactly one place that a model comes from."""

    rules: ClassVar[tuple[Rule, ...]] = (
        not_built("oci", "name huggingFace or persistentVolumeClaim"),
        not_built("s3", "name huggingFace or persistentVolumeClaim"),
        Rule(
            "has(self.huggingFace) != has(self.persistentVolumeClaim)",
            "model needs exactly one source: set either huggingFace or persistentVolumeClaim",
        ),
    )

    hugging_face: HuggingFaceModel | None = None
    """A repository of a Hugging Face hub."""

    persistent_volume_claim: ClaimModel | None = None
    """A folder of a claim."""

    oci: Foreign | None = None
    """Not built yet: refused."""

    s3: Foreign | None = None
    """Not built yet: refused."""
