"""The Engine that records what a build has published."""

from typing import Any

from nacelle_engine.recipe import ANY_PRODUCT
from nacelle_engine.result import Published
from nacelle_operator.api.engine_build import EngineBuild
from nacelle_operator.build.request import TargetRequest
from nacelle_operator.kinds import ENGINE
from nacelle_operator.objects import names
from nacelle_operator.objects.job_pod import STORE_MOUNT


def engine(build: EngineBuild, request: TargetRequest, published: Published) -> dict[str, Any]:
    """The object; its labels say which request it answers and which build made it."""
    product = request.request.recipe.gpu_product
    annotations = {}
    if published.accuracy:
        annotations[names.ACCURACY] = published.accuracy.model_dump_json(by_alias=True)
    return {
        "apiVersion": ENGINE.api_version,
        "kind": ENGINE.name,
        "metadata": {
            "name": names.engine_name(published.engine_key),
            "namespace": build.metadata.namespace,
            "labels": {
                **names.managed_labels("engine"),
                names.BUILD: build.metadata.name,
                names.REQUEST_KEY: names.key_label(request.key),
            },
            "annotations": annotations,
        },
        "spec": {
            "key": published.engine_key,
            "modelName": build.spec.model_name,
            "architecture": request.target.architecture.value,
            **({} if product == ANY_PRODUCT else {"gpuProduct": product}),
            "abi": published.abi,
            "limits": build.spec.limits.model_dump(mode="json", by_alias=True),
            "store": {"persistentVolumeClaim": {"claimName": request.store_claim}},
            "path": published.path.removeprefix(f"{STORE_MOUNT}/"),
            "digest": published.digest,
            "bytes": published.bytes,
            "deletionPolicy": build.spec.deletion_policy,
        },
    }
