"""The shape of a model's attention: what the three attention kernels are compiled for."""

from dataclasses import dataclass

from nacelle_engine.arch import Architecture
from nacelle_engine.errors import UnsupportedModel
from nacelle_engine.ops.gpu.capability import require_fp8


@dataclass(frozen=True)
class AttentionShape:
    """Heads and variants of one kind of layer.

    heads, kv_heads  query heads and KV heads of this rank; head h reads KV head h // group
    head_dim         D, a multiple of 16 up to 256
    fp8              the cache is FP8 E4M3 with kv_scales, else bf16
    norm_eps         eps of the RMS norm over D that q and k get before the rope; None without
    scale            what scores are multiplied with; 1 / sqrt(D) without
    soft_cap         scores become cap * tanh(score / cap); 0 = none
    window           a query sees this many positions, its own included; 0 = all
    rotary_dim       E, the first dimensions of a head, which are rotated; D without
    """

    heads: int
    kv_heads: int
    head_dim: int
    fp8: bool = False
    norm_eps: float | None = None
    scale: float | None = None
    soft_cap: float = 0.0
    window: int = 0
    rotary_dim: int | None = None
    architecture: Architecture = Architecture.SM_90

    def __post_init__(self) -> None:
        if self.head_dim % 16 or not 16 <= self.head_dim <= 256:
            raise UnsupportedModel(
                f"head_dim {self.head_dim} is not supported on GPUs; multiples of 16 up to 256 are"
            )
        if self.heads % self.kv_heads:
            raise UnsupportedModel(
                f"{self.heads} heads cannot share {self.kv_heads} KV heads evenly;"
                " the first must be a multiple of the second"
            )
        if self.fp8:
            require_fp8(self.architecture, "quantization.kvCache")

    @property
    def group(self) -> int:
        """Query heads that share a KV head."""
        return self.heads // self.kv_heads

    @property
    def softmax_scale(self) -> float:
        """What scores are multiplied with."""
        return self.head_dim**-0.5 if self.scale is None else self.scale

    @property
    def block_dim(self) -> int:
        """D rounded up to a power of two: the width of tiles, whose rest is zeros."""
        return 1 << (self.head_dim - 1).bit_length()

    @property
    def rotary(self) -> int:
        """E: how many of a head's dimensions are rotated."""
        return self.head_dim if self.rotary_dim is None else self.rotary_dim

    @property
    def kv_type(self) -> str:
        """Triton's type of a pointer into the cache."""
        return "*fp8e4nv" if self.fp8 else "*bf16"

    @property
    def name(self) -> str:
        """A part of kernels' names that is unique among shapes."""
        parts = [f"{self.heads}x{self.kv_heads}x{self.head_dim}", "fp8" if self.fp8 else "bf16"]
        parts += [] if self.norm_eps is None else [f"norm{self.norm_eps:g}"]
        parts += [] if self.scale is None else [f"scale{self.scale:g}"]
        parts += [f"cap{self.soft_cap:g}"] if self.soft_cap else []
        parts += [f"window{self.window}"] if self.window else []
        parts += [f"rotary{self.rotary}"] if self.rotary != self.head_dim else []
        return "_".join(parts)

    def arguments(self, before: dict[str, str], *, norms: bool) -> dict[str, str]:
        """`before`, then kv and what a cache of this type and q/k norms need, as name -> type."""
        found = {**before, "kv": self.kv_type}
        if self.fp8:
            found["kv_scales"] = "*fp32"
        if norms and self.norm_eps is not None:
            found |= {"q_norm": "*bf16", "k_norm": "*bf16"}
        return found

    def absent(self, *, norms: bool) -> dict[str, None]:
        """The optional arguments that this shape does without, as constants."""
        names = [] if self.fp8 else ["kv_scales"]
        names += ["q_norm", "k_norm"] if norms and self.norm_eps is None else []
        return dict.fromkeys(names)
