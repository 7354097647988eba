"""Compiles kernels for an architecture without a GPU: `python cubin_usage.py sm_90` prints JSON.

A process of its own: Triton is either interpreted or compiled, as the environment said when it was
imported. Prints for each kernel its name, registers and stack bytes of a thread (what spills goes
to the stack), and shared memory of a program.
"""

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu import (
    act_quantise,
    block_gate_up,
    block_input,
    block_linear,
    block_linear_residual,
    decode_attention,
    embed,
    norm_gather,
    norm_quantise,
    norm_residual,
    prefill_attention,
    quantise,
    rope_append,
    static_gate_up,
)
from nacelle_engine.ops.gpu.attention_shape import AttentionShape
from nacelle_engine.ops.gpu.fp8 import Output
from nacelle_engine.precision import QuantizationAlgorithm

CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"


def kernels(architecture):
    """Every op's default at Llama-3.1-8B's shape, and its variants at a small one."""
    plain = AttentionShape(32, 8, 128, architecture=architecture)
    fp8 = architecture is not Architecture.SM_80
    variants = {"norm_eps": 1e-6, "window": 100, "soft_cap": 50.0, "fp8": fp8}
    small = AttentionShape(6, 2, 64, architecture=architecture, **variants)
    for shape in (plain, small):
        for requests in (1, 128):
            choice = decode_attention.choices(shape, requests)[0]
            yield decode_attention.kernel(shape, choice)
        yield rope_append.kernel(shape, rope_append.choices(shape)[0])
        yield prefill_attention.kernel(shape, prefill_attention.choices(shape)[0])
    if fp8:
        yield rope_append.kernel(small, rope_append.choices(small)[0], fp8_queries=True)
    phi = AttentionShape(32, 32, 96, rotary_dim=72, window=2047, architecture=architecture)
    yield decode_attention.kernel(phi, decode_attention.choices(phi, 8)[0])
    yield rope_append.kernel(phi, rope_append.choices(phi)[0])
    yield prefill_attention.kernel(phi, prefill_attention.choices(phi)[0])
    gemma = {"scale": 0.0625, "window": 4096, "soft_cap": 50.0}
    wide = AttentionShape(16, 8, 256, architecture=architecture, **gemma)
    yield decode_attention.kernel(wide, decode_attention.choices(wide, 1)[0])
    yield rope_append.kernel(wide, rope_append.choices(wide)[0])
    yield prefill_attention.kernel(wide, prefill_attention.choices(wide)[0])
    masked = replace(prefill_attention.choices(plain)[1], masked=True)
    yield prefill_attention.kernel(plain, masked)
    rows = norm_residual.Shape(3584, 1e-6, architecture)
    yield norm_residual.kernel(rows, norm_residual.choices(rows)[0])
    gathered = norm_gather.Shape(4096, 1e-5, architecture)
    yield norm_gather.kernel(gathered, norm_gather.choices(gathered)[0])
    hidden = embed.Shape(4096, architecture=architecture)
    yield embed.kernel(hidden, embed.choices(hidden)[0])
    for algorithm in QuantizationAlgorithm if fp8 else [QuantizationAlgorithm.NONE]:
        output = Output(algorithm, architecture)
        for op, shape in (
            (norm_quantise, norm_quantise.Shape(4096, 1e-5, output)),
            (quantise, quantise.Shape(4096, output)),
            (act_quantise, act_quantise.Shape(14336, output)),
        ):
            yield op.kernel(shape, op.choices(shape)[0])
    if fp8:
        output = Output(QuantizationAlgorithm.FP8_PER_CHANNEL_PER_TOKEN, architecture)
        raw = act_quantise.Shape(14336, output, raw=True)
        yield from (act_quantise.kernel(raw, choice) for choice in act_quantise.choices(raw)[:3])
    if fp8:
        for result in ("blocks", "static"):
            choice = decode_attention.choices(plain, 8)[0]
            yield decode_attention.kernel(plain, choice, result=result)
        gate_up = static_gate_up.Shape(14336, 4096, architecture=architecture)
        yield static_gate_up.kernel(gate_up, static_gate_up.choices(gate_up, 128)[0])
    yield from block_kernels(architecture)


def block_kernels(architecture):
    """The ops over FP8 blocks by number of tokens; none where there is no FP8."""
    stream = block_input.Shape(4096)
    yield from (block_input.kernel(stream, c) for c in block_input.choices(stream, 8, architecture))
    for op, shape in (
        (block_linear, block_linear.Shape(6144, 4096, 1e-5)),
        (block_linear_residual, block_linear_residual.Shape(4096, 4096, 512)),
        (block_linear_residual, block_linear_residual.Shape(4096, 14336)),
        (block_gate_up, block_gate_up.Shape(14336, 4096, 1e-5)),
    ):
        for tokens in (8, 64):
            for choice in op.choices(shape, tokens, architecture)[:1]:
                yield op.kernel(shape, choice)


def compiled(kernel, architecture):
    """The kernel as Triton compiles it ahead of time."""
    names = kernel.function.arg_names
    signature = {name: kernel.arguments.get(name, "constexpr") for name in names}
    aligned = {
        (names.index(name),): [["tt.divisibility", 16]]
        for name, kind in kernel.arguments.items()
        if kind.startswith("*")
    }
    major, minor = architecture.compute_capability
    return triton.compile(
        ASTSource(kernel.function, signature, dict(kernel.constants), aligned),
        target=GPUTarget("cuda", 10 * major + minor, 32),
        options={"num_warps": kernel.warps, "num_stages": kernel.stages},
    )


def usage(cubin):
    """(registers, stack bytes) of a thread."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run(
            [CUOBJDUMP, "--dump-resource-usage", file.name],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    return tuple(int(x) for x in re.search(r"REG:(\d+) STACK:(\d+)", text).groups())


def main(name):
    architecture = Architecture(name)
    found = []
    for kernel in kernels(architecture):
        binary = compiled(kernel, architecture)
        registers, stack = usage(binary.asm["cubin"])
        found.append(
            {
                "name": kernel.name,
                "registers": registers,
                "stack": stack,
                "shared": binary.metadata.shared,
            }
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
