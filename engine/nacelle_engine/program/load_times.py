"""What loading a program took: the weights' way to where they are used, and the graphs' capture."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LoadTimes:
    """weight_bytes were made ready in weight_seconds, `graphs` captured in capture_seconds."""

    weight_bytes: int
    weight_seconds: float
    graphs: int = 0
    capture_seconds: float = 0.0

    @property
    def weight_gb_s(self) -> float:
        """Bytes of weights over the seconds that they took, in 10^9 a second."""
        return self.weight_bytes / max(self.weight_seconds, 1e-9) / 1e9

    def __str__(self) -> str:
        read = (
            f"weights {self.weight_bytes / 1e9:.2f} GB in {self.weight_seconds:.2f} s "
            f"({self.weight_gb_s:.2f} GB/s)"
        )
        if not self.graphs:
            return read
        return f"{read}, {self.graphs} CUDA graphs in {self.capture_seconds:.2f} s"
