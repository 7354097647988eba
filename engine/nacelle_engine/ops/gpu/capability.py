"""What kernels may use on an architecture: FP8 conversions, dependent launch, shared memory."""

from nacelle_engine.arch import Architecture
from nacelle_engine.errors import CompileFailed


def depends(architecture: Architecture) -> bool:
    """True where kernels can start before their predecessor's end: sm_90 and later."""
    return (architecture.compute_capability or (0, 0)) >= (9, 0)


def shared_memory(architecture: Architecture) -> int:
    """Bytes of shared memory that a program can have."""
    return {Architecture.SM_80: 166_912, Architecture.SM_89: 101_376}.get(architecture, 232_448)


def fp8_converts(architecture: Architecture) -> bool:
    """True where FP8 E4M3 is converted by an instruction: sm_89 and later."""
    return (architecture.compute_capability or (0, 0)) >= (8, 9)


def require_fp8(architecture: Architecture, field: str) -> None:
    """CompileFailed where the architecture cannot convert FP8 E4M3: below sm_89."""
    if not fp8_converts(architecture):
        raise CompileFailed(
            f"{field}: FP8 E4M3 needs sm_89 or later, the target is {architecture.value};"
            f" set {field} to NONE"
        )
