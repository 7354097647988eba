"""What the API refuses because limits contradict each other or because it is not built yet.

Annotations for fields whose types are the engine's own contract, and rules shared by kinds.
"""

from typing import Final

from nacelle_operator.api.schema import Rule, WithRules

PARALLELISM_BUILT: Final = (
    Rule("self.tensor == 1", "parallelism.tensor above 1 is not built yet: use 1"),
    Rule("self.pipeline == 1", "parallelism.pipeline above 1 is not built yet: use 1"),
)

CALIBRATION_AGREES: Final = WithRules(
    Rule(
        "!has(self.calibration) || self.algorithm == 'FP8' || self.kvCache == 'FP8'",
        "quantization.calibration has no meaning: neither algorithm nor kvCache has static scales "
        "(FP8); leave it out",
    ),
    Rule(
        "!has(self.calibration) || !has(self.calibration.percentile) "
        "|| self.calibration.method == 'Percentile'",
        "quantization.calibration.percentile has no meaning with method AbsMax: leave it out or "
        "use Percentile",
    ),
    Rule(
        "!has(self.calibration) || !has(self.calibration.path) "
        "|| (!self.calibration.path.startsWith('/') "
        "&& !self.calibration.path.split('/').exists(part, part == '..') "
        "&& (self.calibration.path.endsWith('.txt') || self.calibration.path.endsWith('.jsonl')))",
        "quantization.calibration.path must name a .txt or .jsonl file, relative to the model's "
        "folder and inside it",
    ),
)


MAX_MEMORY_IS_AMOUNT: Final = Rule(
    "!has(self.maxMemory) || isQuantity(string(self.maxMemory))",
    "maxMemory is no amount of memory, such as 8Gi",
)
MIN_GPU_MEMORY_IS_AMOUNT: Final = Rule(
    "!has(self.minGpuMemory) || isQuantity(string(self.minGpuMemory))",
    "minGpuMemory is no amount of memory, such as 79Gi",
)

# A build has one quantization for all its targets, so a CPU target bounds what it may be.
_GPU_ONLY: Final = "self.targets.all(t, t.architecture.startsWith('sm_'))"
QUANTIZATION_BUILT: Final = (
    Rule(
        f"self.quantization.algorithm != 'FP8' || {_GPU_ONLY}",
        "quantization.algorithm FP8 (static scales) is not built yet for CPU architectures: "
        "use FP8_PER_CHANNEL_PER_TOKEN or NONE",
    ),
    Rule(
        f"self.quantization.kvCache == 'NONE' || {_GPU_ONLY}",
        "quantization.kvCache FP8 is not built yet for CPU architectures: use NONE",
    ),
    Rule(
        "self.quantization.kvCache == 'NONE' || self.targets.all(t, t.architecture != 'sm_80')",
        "quantization.kvCache FP8 needs sm_89 or later, a target is sm_80: use NONE, or a build of "
        "its own for sm_80",
    ),
    Rule(
        "self.quantization.lmHead == 'NONE'",
        "quantization.lmHead FP8 is not built yet: use NONE",
    ),
    Rule(
        "self.quantization.computeType == 'bfloat16' || "
        "self.targets.all(t, !t.architecture.startsWith('sm_'))",
        "quantization.computeType float32 is not built yet for GPU architectures: use bfloat16",
    ),
)

_TENSORRT: Final = "self.backend != 'tensorrt'"
BACKEND_BUILT: Final = (
    Rule(
        f"{_TENSORRT} || {_GPU_ONLY}",
        "backend tensorrt compiles for GPU architectures: use native for CPU ones",
    ),
    Rule(
        f"{_TENSORRT} || self.quantization.algorithm == 'NONE' "
        "|| self.targets.all(t, t.architecture != 'sm_80')",
        "backend tensorrt multiplies FP8 from sm_89 on, a target is sm_80: use algorithm NONE, or "
        "backend native",
    ),
    Rule(
        f"{_TENSORRT} || self.determinism == 'Fast'",
        "determinism BatchInvariant is not built for backend tensorrt: use Fast, or backend native",
    ),
)

CALIBRATION_AT_HAND: Final = Rule(
    "!has(self.quantization) || !has(self.quantization.calibration) "
    "|| !has(self.quantization.calibration.path) || has(self.model.persistentVolumeClaim)",
    "quantization.calibration.path is a file in the model's folder, which only a "
    "persistentVolumeClaim has: leave it out",
)

LIMITS_AGREE: Final = WithRules(
    Rule(
        "self.maxInputLen < self.maxSeqLen",
        "limits.maxInputLen must be below limits.maxSeqLen: a sequence is the prompt and at least "
        "one answer token",
    ),
    Rule(
        "self.maxNumTokens >= self.maxBatchSize",
        "limits.maxNumTokens must be at least limits.maxBatchSize: a decode step holds one token "
        "a request",
    ),
)
