"""What to do about each error that a build can end with."""

from collections.abc import Mapping
from typing import Final

_AGAIN = "then change any field of the spec, such as job.backoffLimit: it is tried again"
_LOG = "`kubectl logs` of the Job's pod says more"
_CHECKPOINT = f"put a whole Hugging Face checkpoint where spec.model points, {_AGAIN}"

ADVICE: Final[Mapping[str, str]] = {
    "InvalidRequest": "correct the field that the message names",
    "InvalidModel": _CHECKPOINT,
    "UnsupportedModel": "build a model that the table in the README lists",
    "TensorMissing": _CHECKPOINT,
    "TensorUnexpected": _CHECKPOINT,
    "TensorInvalid": _CHECKPOINT,
    "CompileFailed": f"it is the builder's fault or its compiler's: {_LOG}",
    "FidelityFailed": f"it is the builder's fault or its compiler's: {_LOG}",
    "AccuracyFailed": "loosen spec.accuracy, choose another quantization, or take the engine as it "
    "is with accuracy.onFailure: Publish",
    "TargetMismatch": "keep the build off that node: correct its labels, or set the target's "
    "nodeSelector",
    "AbiMismatch": "install the chart's own builder and runtime images, which belong together",
    "CorruptBundle": f"delete the folder that the message names from the store, {_AGAIN}",
    "OutOfMemory": "raise the target's maxMemory, or lower spec.limits",
    "GpuOutOfMemory": "lower spec.limits, quantise, or name gpuProducts with more memory",
    "SourceUnavailable": f"see that the hub or the claim can be reached from the node, {_AGAIN}",
    "StoreUnavailable": f"see that the store's claim can be written and has room, {_AGAIN}",
    "AttemptTimeout": "raise job.attemptTimeout",
    "SchedulingTimeout": "add a node that fits, or raise job.schedulingTimeout",
    "ResultLost": f"see with `kubectl get events` what ends the Job's pods, {_AGAIN}",
    "BuildCrashed": f"{_LOG}; {_AGAIN.removeprefix('then ')}",
    "InternalError": f"it is the builder's fault: {_LOG}",
}
"""By the code that a failed target's condition gives as its reason."""
