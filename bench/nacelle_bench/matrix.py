"""A GPU's measured matrix rate: the ceiling of every step that has many tokens."""

from collections.abc import Callable

import torch

# Large enough for every multiprocessor to have work for long.
_SIZE = 8192
_FP8 = torch.float8_e4m3fn


def matrix_rate(device: torch.device, rounds: int = 20) -> tuple[float, str]:
    """Operations per second of one large product, the best of some rounds, and its type.

    FP8 by the library that engines call, on GPUs without FP8 products bfloat16.
    """
    fp8 = torch.cuda.get_device_capability(device) >= (8, 9)
    product = _fp8_product(device) if fp8 else _bfloat16_product(device)
    product()
    best = min(_milliseconds(product) for _ in range(rounds))
    return 2 * _SIZE**3 / (best / 1000), "FP8" if fp8 else "bfloat16"


def _fp8_product(device: torch.device) -> Callable[[], torch.Tensor]:
    x, weight = (torch.randn(_SIZE, _SIZE, device=device).to(_FP8) for _ in range(2))
    one = torch.ones(1, device=device)
    # With the sums that engines ask for.
    return lambda: torch._scaled_mm(
        x,
        weight.t(),
        scale_a=one,
        scale_b=one,
        out_dtype=torch.bfloat16,
        use_fast_accum=True,
    )


def _bfloat16_product(device: torch.device) -> Callable[[], torch.Tensor]:
    x, weight = (torch.randn(_SIZE, _SIZE, device=device, dtype=torch.bfloat16) for _ in range(2))
    return lambda: x @ weight.t()


def _milliseconds(run: Callable[[], object]) -> float:
    begin, end = _event(), _event()
    begin.record()
    run()
    end.record()
    end.synchronize()
    taken: float = begin.elapsed_time(end)
    return taken


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
