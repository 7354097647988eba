"""Lets Triton 3.6's interpreter run the programs of a launch together; import it for its effect.

Nearly all of its time goes to what surrounds NumPy's calls, and each program makes the same calls.
Here every value has an axis of programs before its own axes: as long as there are programs, or 1
where all have the same. A branch or a loop's bound that is not the same for all parts them: each
part starts anew, and memory gives it what it gave before, until it is where it was parted.

The interpreter also patches Triton's language at each launch, and whenever one @triton.jit function
calls another. Nothing but interpreted kernels uses the language here: it is patched once.
"""

import inspect

import exact_interpreter  # noqa: F401
import inline_assembly  # noqa: F401
import kept_types  # noqa: F401
import numpy as np
import triton.language as tl
from triton.language import core
from triton.language.semantic import TritonSemantic
from triton.runtime import interpreter
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

# Programs together, at most: more only move tiles out of the CPU's caches.
MOST = 64


class Parted(BaseException):
    """Programs go different ways, whose numbers these are; no kernel's error."""

    def __init__(self, ways):
        self.ways = ways


class Memory:
    """Loads, stores and atomics of some programs in order, and what the first of them gave."""

    def __init__(self, given=()):
        self._given, self._next = list(given), 0

    def access(self, operation, *operands):
        """What the operation gives for operands as long as the longest; done once, then known."""
        if self._next == len(self._given):
            arrays = np.broadcast_arrays(*(operand.data for operand in operands))
            self._given.append(operation(*map(np.ascontiguousarray, arrays)))
        self._next += 1
        return self._given[self._next - 1]

    def of(self, chosen):
        """The same memory, as some of its programs know it."""
        return Memory(
            gave if gave is None or len(gave) == 1 else gave[chosen] for gave in self._given
        )


class LockstepBuilder(InterpreterBuilder):
    """The operations that see the axis of programs; NumPy's broadcasting does for the others."""

    def __init__(self):
        super().__init__()
        # Its checks end in assertions, which only the option `debug` would turn on.
        self.options = interpreter.InterpreterOptions(sanitize_overflow=False)

    def run(self, kernel, arguments, programs, memory):
        """Call the kernel for programs [P, 3], and anew for each part that goes its own way."""
        self._programs, self._memory = programs, memory
        try:
            kernel(**arguments)
        except Parted as parted:
            for way in range(parted.ways.max() + 1):
                chosen = parted.ways == way
                self.run(kernel, arguments, programs[chosen], memory.of(chosen))

    def create_get_program_id(self, axis):
        return TensorHandle(self._programs[:, axis], tl.int32)

    def create_load(self, pointers, *hints):
        return self.create_masked_load(pointers, _like(pointers, True, tl.int1), None, *hints)

    def create_masked_load(self, pointers, mask, other, *hints):
        kind = pointers.get_element_ty()
        bits = interpreter._get_np_dtype(kind)
        other = _like(pointers, 0, kind) if other is None else other

        def load(*operands):
            return interpreter._interpreter.load(*operands, bits)

        return TensorHandle(self._memory.access(load, pointers, mask, other), kind)

    def create_store(self, pointers, value, *hints):
        self.create_masked_store(pointers, value, _like(pointers, True, tl.int1), *hints)

    def create_masked_store(self, pointers, value, mask, *hints):
        self._memory.access(interpreter._interpreter.store, pointers, value, mask)

    def create_atomic_rmw(self, operation, pointers, value, mask, semantic, scope):
        operation = self.ir_rmw_op_to_interpreter_rmw_op[operation]
        semantic = self.ir_sem_to_interpreter_sem[semantic]
        # Each program updates memory, also where all update the same place in the same way.
        shape = (len(self._programs), *pointers.data.shape[1:])
        each = TensorHandle(np.broadcast_to(pointers.data, shape), pointers.dtype)

        def update(*operands):
            return interpreter._interpreter.atomic_rmw(operation, *operands, semantic)

        return TensorHandle(self._memory.access(update, each, value, mask), value.dtype.scalar)

    def create_make_range(self, kind, start, stop):
        return TensorHandle(np.arange(start, stop, dtype=np.int32)[None], tl.int32)

    def create_splat(self, kind, value):
        column = value.data.reshape(-1, *(1 for _ in kind.shape))
        column = column.astype(interpreter._get_np_dtype(value.dtype), copy=False)
        return self.create_broadcast(TensorHandle(column, value.dtype), kind.shape)

    def create_unsplat(self, value):
        return self.create_reshape(value, (), False)

    def create_broadcast(self, value, shape):
        data = np.broadcast_to(value.data, (len(value.data), *shape))
        return TensorHandle(data, value.dtype.scalar)

    def create_expand_dims(self, value, axis):
        return TensorHandle(np.expand_dims(value.data, axis + 1), value.dtype.scalar)

    def create_reshape(self, value, shape, may_reorder):
        return TensorHandle(value.data.reshape(len(value.data), *shape), value.dtype.scalar)

    def create_trans(self, value, order):
        axes = (0, *(axis + 1 for axis in order))
        return TensorHandle(np.transpose(value.data, axes), value.dtype.scalar)

    def create_join(self, left, right):
        both = np.broadcast_arrays(left.data, right.data)
        return TensorHandle(np.stack(both, axis=-1), left.dtype.scalar)

    def create_select(self, condition, left, right):
        ones = (1,) * (left.data.ndim - condition.data.ndim)
        where = condition.data.reshape(condition.data.shape + ones)
        return TensorHandle(np.where(where, left.data, right.data), right.dtype.scalar)

    def _absent(self, *_, **__):
        raise NotImplementedError("no kernel needed it yet")

    create_atomic_cas = create_cat = create_gather = create_histogram = _absent
    create_make_block_ptr = create_make_tensor_descriptor = _absent


def _like(pointers, value, kind):
    """One value for all of the pointers."""
    ones = (1,) * pointers.data.ndim
    return TensorHandle(np.full(ones, value, interpreter._get_np_dtype(kind)), kind)


def _run(function, *positional, grid, warmup, **named):
    """A launch of an InterpretedFunction over tensors of the CPU."""
    builder, kernel = interpreter.interpreter_builder, function.rewrite()
    given = inspect.getcallargs(kernel, *positional, **named)
    kinds = inspect.signature(function.fn).parameters
    arguments = {
        name: value
        if "constexpr" in str(kinds[name].annotation)
        else interpreter._implicit_cvt(value)
        for name, value in given.items()
    }
    grid = (*grid, 1, 1)[:3]
    builder.set_grid_dim(*grid)
    every = np.stack(np.unravel_index(np.arange(np.prod(grid)), grid), 1).astype(np.int32)
    for first in range(0, len(every), MOST):
        builder.run(kernel, arguments, every[first : first + MOST], Memory())


_REDUCTIONS = {
    tl.standard._sum_combine: np.sum,
    tl.standard._elementwise_max: np.nanmax,
    tl.standard._elementwise_min: np.nanmin,
}


def _reduce(value, axis, combine, keep_dims=False, **_):
    """tl.reduce over an axis, or over all of them where it is None."""
    # The order of a sum follows how its terms lie, which must not follow how they were made.
    data = np.ascontiguousarray(value.handle.data)
    if axis is None:
        assert not keep_dims
        data, axis = data.reshape(len(data), -1), 0
    axis = core._unwrap_if_constexpr(axis)
    found = _REDUCTIONS[combine](data, axis=axis + 1 if axis >= 0 else axis, keepdims=keep_dims)
    found = found.astype(interpreter._get_np_dtype(value.dtype), copy=False)
    kind = tl.block_type(value.dtype, list(found.shape[1:])) if found.ndim > 1 else value.dtype
    return tl.tensor(TensorHandle(found, value.dtype), kind)


def _scan(*_, **__):
    raise NotImplementedError("no kernel needed it yet")


def _number(scalar):
    """What a scalar is in every program."""
    values, ways = np.unique(scalar.handle.data.reshape(-1), return_inverse=True)
    if len(values) > 1:
        raise Parted(ways)
    return values[0].item()


def _truth(tensor):
    """Of a scalar; whatever has more elements is there, and therefore true."""
    return tensor.numel.value > 1 or bool(_number(tensor))


def _any_kernel():
    """Sees both modules that a kernel can: what is patched for it serves every other."""
    return tl, core


interpreter.interpreter_builder = LockstepBuilder()
interpreter.interpreter_semantic = TritonSemantic(interpreter.interpreter_builder)
interpreter.InterpretedFunction.run = _run
interpreter._patch_lang(_any_kernel)
interpreter._patch_lang = lambda kernel: interpreter._LangPatchScope()
tl.tensor.__index__, tl.tensor.__bool__, tl.tensor.T = _number, _truth, property(tl.trans)
for module in (tl, core):
    module.reduce, module.associative_scan = _reduce, _scan
