"""A GPU without a GPU: kernels by Triton's interpreter, over the CPU's memory, with graphs.

`GpuProgram` runs on it unchanged: launches read their arguments through the same addresses as the
driver would, and a captured graph keeps the values that they had when it was captured.
"""

import contextlib
import ctypes

import lockstep  # noqa: F401
import torch

from nacelle_engine.program import bound_list, gpu, library_abi, mixed_sizes, replay
from nacelle_engine.program.attention_library import BuiltLibrary
from nacelle_engine.program.launch import LAUNCHES, KernelFile, LaunchList

POINTERS = {
    "*bf16": torch.bfloat16,
    "*fp8e4nv": torch.float8_e4m3fn,
    "*u8": torch.uint8,
    "*fp32": torch.float32,
    "*i64": torch.int64,
    "*i32": torch.int32,
}
ABI = "cudart13-tvm_ffi0"
# Launches of the graph that is being captured.
_capturing: list | None = None


def facts_of(kernel):
    """Facts of a cubin that no driver will read."""
    return KernelFile(
        name=kernel.name,
        file=f"kernels/{kernel.name}.cubin",
        entry=kernel.name,
        shared_bytes=0,
        warps=kernel.warps,
        arguments=tuple(kernel.arguments.values()),
    )


def launch_list(lowered):
    """The list that a build writes."""
    return LaunchList(
        kernels=tuple(facts_of(kernel) for kernel in lowered.kernels),
        libraries=tuple(BuiltLibrary(library=one, abi=ABI) for one in lowered.libraries),
        buffers=lowered.buffers,
        steps=lowered.steps,
        heads=lowered.heads,
    )


def open_interpreted(monkeypatch, rank, signature, lowered, *, captured_tokens=0):
    """The GpuProgram of a rank that holds weights, over the kernels of a lowering.

    captured_tokens: the largest mixed step that is captured; each size is interpreted once for it.
    """
    monkeypatch.setattr(mixed_sizes, "CAPTURED_TOKENS", captured_tokens)
    (rank / LAUNCHES).write_text(launch_list(lowered).model_dump_json(by_alias=True))
    for library in lowered.libraries:
        (rank / library.file).touch()
    monkeypatch.setattr(library_abi, "abi_here", lambda: ABI)
    monkeypatch.setattr(gpu, "current_device", _here)
    interpret(monkeypatch, bound_list, lowered.kernels)
    return gpu.GpuProgram(rank, signature)


def interpret(monkeypatch, module, kernels):
    """Let a module that loads functions find these kernels instead, on a GPU that is the CPU."""
    known = {kernel.name: kernel for kernel in kernels}
    monkeypatch.setattr(module, "Function", lambda rank, facts: known[facts.name])
    if hasattr(module, "current_device"):
        monkeypatch.setattr(module, "current_device", _here)
    monkeypatch.setattr(replay, "PreparedLaunch", Launch)
    monkeypatch.setattr(torch, "_scaled_mm", scaled_mm)
    monkeypatch.setattr(torch, "mm", mm)
    for name, fake in (
        ("Stream", Stream),
        ("current_stream", Stream),
        ("stream", lambda stream: contextlib.nullcontext()),
        ("Event", Event),
        ("CUDAGraph", Graph),
        ("graph_pool_handle", lambda: None),
    ):
        monkeypatch.setattr(torch.cuda, name, fake)


def _here():
    return torch.device("cpu")


class Launch:
    """A PreparedLaunch."""

    def __init__(self, kernel, cells, stream):
        self._kernel, self._cells = kernel, cells
        assert len(cells) == len(kernel.arguments)

    def launch(self, *grid):
        arguments = {
            name: _value(kind, address)
            for (name, kind), address in zip(
                self._kernel.arguments.items(), self._cells, strict=True
            )
        }

        def run():
            self._kernel.function[grid](**arguments, **self._kernel.constants)

        (run if _capturing is None else lambda: _capturing.append(run))()


def _value(kind, address):
    if kind == "i32":
        return ctypes.c_int32.from_address(address).value
    pointer = ctypes.c_void_p.from_address(address).value
    assert pointer and pointer % 16 == 0, f"{kind} at {pointer}"
    return torch.frombuffer((ctypes.c_uint8 * 8).from_address(pointer), dtype=POINTERS[kind])


def scaled_mm(x, columns, *, scale_a, scale_b, bias, out_dtype, use_fast_accum, out):
    """The formula, rounded once."""
    assert columns.stride(0) == 1, "the second matrix must lie column by column"

    def run():
        products = x.float() @ columns.float() * scale_a * scale_b
        out.copy_((products if bias is None else products + bias.float()).to(out_dtype))

    (run if _capturing is None else lambda: _capturing.append(run))()


def mm(x, columns, *, out_dtype, out):
    """The formula, summed in float32."""
    assert x.dtype == columns.dtype == torch.bfloat16 and out_dtype == out.dtype == torch.float32
    assert columns.stride(0) == 1, "the second matrix must lie column by column"

    def run():
        out.copy_(x.float() @ columns.float())

    (run if _capturing is None else lambda: _capturing.append(run))()


class Stream:
    """Everything is done at once."""

    cuda_stream = 0

    def __init__(self, device=None):
        pass

    def wait_stream(self, other):
        pass

    def synchronize(self):
        pass


class Event:
    """Everything is done at once, and takes no time."""

    def __init__(self, enable_timing=False):
        pass

    def elapsed_time(self, end):
        return 0.0

    def record(self):
        pass

    def synchronize(self):
        pass


class Graph:
    """Launches with the arguments that they had when they were captured."""

    def capture_begin(self, pool=None):
        global _capturing
        self._launches = _capturing = []

    def capture_end(self):
        global _capturing
        _capturing = None

    def replay(self):
        for launch in self._launches:
            launch()
