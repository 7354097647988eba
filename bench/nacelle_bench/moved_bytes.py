"""Bytes that torch's ops move, one by one: what each reads and what it writes."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_aten = torch.ops.aten
# These touch as much of their first input as they take or give, never all of it.
_GATHERED = (_aten.index.Tensor, _aten.index_select.default, _aten.embedding.default)
_SCATTERED = (_aten.index_put_.default, _aten.index_put.default)
_OVERWRITES = (_aten.copy_.default, _aten.fill_.Scalar, _aten.zero_.default)


class MovedBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts, within `with`, the bytes of every op's inputs and results; views move none.

    An op counts as if it read each input once and wrote each result once: what caches save or
    kernels read again is not seen. A gathered tensor counts by the rows that are taken, one that is
    scattered into by those that are put.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0
        self.ops = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the op, and count what it moved."""
        out = func(*args, **(kwargs or {}))
        # A tensor that is given twice is read once.
        inputs = list({id(one): one for one in _tensors((args, kwargs or {}))}.values())
        results = list(_tensors(out))
        moved = _moved(func, inputs, results)
        self.bytes += moved
        self.ops += moved > 0
        return out


def moved_bytes(run: Callable[[], object]) -> int:
    """Bytes that the ops of `run` move."""
    counted = MovedBytes()
    with counted:
        run()
    return counted.bytes


def _moved(func: Any, inputs: list[torch.Tensor], results: list[torch.Tensor]) -> int:
    written = sum(stored_bytes(one) for one in results)
    if func in _GATHERED:
        # Rows are read as they are written, and the indices besides.
        return 2 * written + sum(map(stored_bytes, inputs[1:]))
    if func in _SCATTERED:
        *indices, values = inputs[1:]
        return sum(map(stored_bytes, indices)) + 2 * stored_bytes(values)
    if func in _OVERWRITES:
        return written + sum(map(stored_bytes, inputs[1:]))
    if not func._schema.is_mutable and _is_view(inputs, results):
        return 0
    return written + sum(map(stored_bytes, inputs))


def stored_bytes(tensor: torch.Tensor) -> int:
    """Bytes of the different elements that a tensor names; expanded ones are one."""
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride or not size else 1
    return int(count * tensor.itemsize)


def _is_view(inputs: list[torch.Tensor], results: list[torch.Tensor]) -> bool:
    memory = {one.untyped_storage().data_ptr() for one in inputs}
    return all(one.untyped_storage().data_ptr() in memory for one in results)


def _tensors(tree: Any) -> Iterator[torch.Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor))
