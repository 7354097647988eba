"""A library's matrix products: bound once, and each kernel loaded that the library may choose."""

from collections.abc import Callable, Hashable, Iterator, Sequence

import torch

# Rows are tried so densely: 64 sizes where they double.
_DENSITY = 64

Call = Callable[[int], None]


class Products:
    """Calls of the library for products of some rows, told apart by what it chooses a kernel by.

    The library chooses by the shapes at hand, rows among them, and its kernels are loaded when they
    are first launched, which waits until the device is idle: `load` does that before steps do.
    """

    def __init__(self) -> None:
        self._kinds: dict[Hashable, tuple[Call, Callable[[], int]]] = {}

    def scaled(
        self,
        x: torch.Tensor,
        weight: torch.Tensor,
        out: torch.Tensor,
        x_scale: torch.Tensor,
        weight_scale: torch.Tensor,
        bias: torch.Tensor | None,
    ) -> Call:
        """The product of a MatmulLaunch (launch.py), as a call with the number of its tokens."""
        columns = weight.t()
        by_token = weight_scale.numel() > 1
        by_channel = weight_scale[None, :] if by_token else weight_scale

        def call(tokens: int) -> None:
            torch._scaled_mm(
                x[:tokens],
                columns,
                scale_a=x_scale[:tokens, None] if by_token else x_scale,
                scale_b=by_channel,
                bias=bias,
                out_dtype=out.dtype,
                use_fast_accum=True,
                out=out[:tokens],
            )

        kind = ("scaled", weight.shape, weight.dtype, out.dtype, by_token, bias is None)
        self._kinds.setdefault(kind, (call, lambda: len(x)))
        return call

    def logits(self, x: torch.Tensor, weight: torch.Tensor, logits: Sequence[torch.Tensor]) -> Call:
        """The product of a LogitsLaunch, as a call with its rows; logits[0] is the step's own."""
        columns = weight.t()

        def call(rows: int) -> None:
            torch.mm(x[:rows], columns, out_dtype=torch.float32, out=logits[0][:rows])

        kind = ("logits", weight.shape, weight.dtype)
        self._kinds.setdefault(kind, (call, lambda: min(len(x), len(logits[0]))))
        return call

    def load(self) -> None:
        """Run each kind of product at rows of all magnitudes, over whatever its buffers hold."""
        for call, most in self._kinds.values():
            for rows in rows_to_try(most()):
                call(rows)


def rows_to_try(most: int) -> Iterator[int]:
    """All of the smallest numbers of rows, and ever fewer of the larger ones; the largest first."""
    rows = most
    while rows > 0:
        yield rows
        rows -= max(rows // _DENSITY, 1)
