"""One program from a torch module: exported with its varying sizes, compiled by AOTInductor."""

import contextlib
import functools
import logging
import shutil
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._inductor import cpu_vec_isa
from torch.export import Dim

from nacelle_builder.compile.cpu.toolchain import Toolchain
from nacelle_builder.compile.failure import compile_failure
from nacelle_engine.arch import Architecture
from nacelle_engine.program.signature import ProgramSpec, TensorSpec, WeightSpec
from nacelle_engine.program.weights import DTYPES

# The vector instructions of each level, as AOTInductor knows them.
_ISAS = {
    Architecture.X86_64_V3: cpu_vec_isa.VecAVX2(),
    Architecture.X86_64_V4: cpu_vec_isa.VecAVX512(),
}

# Sizes to trace with; all differ, so that none is taken for another.
_EXAMPLES = {"T": 6, "R": 3, "R1": 4, "MB": 5, "L": 2, "B": 7, "S": 64}

# The C functions in kernels.so that stand for our ops: called directly, without the dispatcher.
# An optional tensor comes as a pointer that may be null.
_TENSOR, _OPTIONAL, _OUT = "AtenTensorHandle", "AtenTensorHandle*", "AtenTensorHandle*"
_FLOAT, _INT, _INTS = "double", "int64_t", "const int64_t*, int64_t"
_SHIMS = {
    "linear": [_TENSOR, _TENSOR, _OPTIONAL, _INTS, _OUT],
    "norm": [_TENSOR, _TENSOR, _FLOAT, _OUT],
    "norm_linear": [*[_TENSOR] * 4, _OPTIONAL, _FLOAT, _INTS, _OUT, _OUT],
    "norm_gate_up": [*[_TENSOR] * 4, _FLOAT, _INT, _INTS, _OUT, _OUT],
    "norm_logits": [*[_TENSOR] * 4, _FLOAT, _FLOAT, _OUT],
    "attention": [
        *[_TENSOR] * 7, _OPTIONAL, _OPTIONAL, _INT, _INT, _FLOAT, _FLOAT, _FLOAT, _OUT,
    ],
}  # fmt: skip


class _Ordered(nn.Module):
    """A module called with its inputs in a program's order, not by name."""

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.module, self.names = module, names

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.module(**dict(zip(self.names, inputs, strict=True)))


def compile_program(
    module: nn.Module, spec: ProgramSpec, toolchain: Toolchain, kernels: Path, out: Path
) -> None:
    """Write the program's library to out / spec.file; CompileFailed when torch refuses it."""
    work = toolchain.work / spec.name
    made = work / spec.file
    try:
        with warnings.catch_warnings(), _pinned_isa(toolchain.level):
            warnings.simplefilter("ignore")  # torch's own deprecations
            exported = _export(module, spec)
            torch._inductor.aot_compile(
                exported.module(), exported.example_inputs[0],
                options=_options(made, toolchain, kernels),
            )  # fmt: skip
    except MemoryError:
        raise
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise compile_failure(spec.name, said) from error
    shutil.copyfile(made, out / spec.file)


def _export(module: nn.Module, spec: ProgramSpec) -> torch.export.ExportedProgram:
    inputs: Sequence[TensorSpec | WeightSpec] = (*spec.step, *spec.weights, *spec.state)
    examples = tuple(
        torch.zeros([_EXAMPLES.get(str(n), n) for n in one.shape], dtype=DTYPES[one.dtype])  # type: ignore[arg-type]
        for one in inputs
    )
    varying = tuple(
        {i: Dim.DYNAMIC for i, size in enumerate(one.shape) if isinstance(size, str)}
        for one in inputs
    )
    ordered = _Ordered(module, [one.name for one in inputs])
    with torch.no_grad():
        return torch.export.export(ordered, examples, dynamic_shapes=(varying,))


def _options(made: Path, toolchain: Toolchain, kernels: Path) -> dict[str, Any]:
    ops = torch.ops.nacelle
    shims = {
        getattr(ops, name).default: [f"AOTITorchError aoti_torch_cpu_{name}({', '.join(args)})"]
        for name, args in _SHIMS.items()
    }
    return {
        "aot_inductor.output_path": str(made),
        "aot_inductor.package": False,
        "aot_inductor.custom_ops_to_c_shims": shims,
        # Three small wrappers compile faster than the header that would be precompiled for them.
        "aot_inductor.precompile_headers": False,
        "cpp.cxx": (None, str(toolchain.wrapper(kernels))),
        # AOTInductor bakes the building machine's number of cores into its own loops, and a team of
        # another size than the kernels' costs a millisecond to set up: its loops (an embedding's
        # rows, the wanted logits' rows) run in one thread.
        "cpp.threads": 1,
        "cpp.simdlen": _ISAS[toolchain.level].bit_width(),
    }


@contextlib.contextmanager
def _pinned_isa(level: Architecture) -> Iterator[None]:
    """Code for the level's vectors. torch asks the building machine, which compiles and loads a
    library for each set of instructions (5 s), and finds none wider than its own.
    """
    found = cpu_vec_isa.valid_vec_isa_list
    cpu_vec_isa.valid_vec_isa_list = functools.cache(lambda: [_ISAS[level]])
    try:
        yield
    finally:
        cpu_vec_isa.valid_vec_isa_list = found


logging.getLogger("torch._inductor").setLevel(logging.ERROR)
