"""What cross_compile.py is asked for of every op: its default choice at some models' shapes."""

from dataclasses import replace

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


def job(op, shape, choice, **options):
    """As cross_compile.py takes it."""
    return op, shape, choice, options


def default_jobs(architecture):
    """Every op's default at Llama-3.1-8B's shape, and its variants at a small one."""
    plain = AttentionShape(32, 8, 128, architecture=architecture)
    fp8 = architecture is not Architecture.SM_80
    variants = {"norm_eps": 1e-6, "window": 100, "soft_cap": 50.0, "fp8": fp8}
    small = AttentionShape(6, 2, 64, architecture=architecture, **variants)
    for shape in (plain, small):
        for requests in (1, 128):
            choice = decode_attention.choices(shape, requests)[0]
            yield job(decode_attention, shape, choice)
        yield job(rope_append, shape, rope_append.choices(shape)[0])
        yield job(prefill_attention, shape, prefill_attention.choices(shape)[0])
    if fp8:
        yield job(rope_append, small, rope_append.choices(small)[0], fp8_queries=True)
    phi = AttentionShape(32, 32, 96, rotary_dim=72, window=2047, architecture=architecture)
    yield job(decode_attention, phi, decode_attention.choices(phi, 8)[0])
    yield job(rope_append, phi, rope_append.choices(phi)[0])
    yield job(prefill_attention, phi, prefill_attention.choices(phi)[0])
    gemma = {"scale": 0.0625, "window": 4096, "soft_cap": 50.0}
    wide = AttentionShape(16, 8, 256, architecture=architecture, **gemma)
    yield job(decode_attention, wide, decode_attention.choices(wide, 1)[0])
    yield job(rope_append, wide, rope_append.choices(wide)[0])
    yield job(prefill_attention, wide, prefill_attention.choices(wide)[0])
    masked = replace(prefill_attention.choices(plain)[1], masked=True)
    yield job(prefill_attention, plain, masked)
    rows = norm_residual.Shape(3584, 1e-6, architecture)
    yield job(norm_residual, rows, norm_residual.choices(rows)[0])
    gathered = norm_gather.Shape(4096, 1e-5, architecture)
    yield job(norm_gather, gathered, norm_gather.choices(gathered)[0])
    hidden = embed.Shape(4096, architecture=architecture)
    yield job(embed, hidden, embed.choices(hidden)[0])
    for algorithm in QuantizationAlgorithm if fp8 else [QuantizationAlgorithm.NONE]:
        output = Output(algorithm, architecture)
        for op, shape in (
            (norm_quantise, norm_quantise.Shape(4096, 1e-5, output)),
            (quantise, quantise.Shape(4096, output)),
            (act_quantise, act_quantise.Shape(14336, output)),
        ):
            yield job(op, shape, op.choices(shape)[0])
    if fp8:
        output = Output(QuantizationAlgorithm.FP8_PER_CHANNEL_PER_TOKEN, architecture)
        raw = act_quantise.Shape(14336, output, raw=True)
        yield from (job(act_quantise, raw, choice) for choice in act_quantise.choices(raw)[:3])
        for result in ("blocks", "static"):
            choice = decode_attention.choices(plain, 8)[0]
            yield job(decode_attention, plain, choice, result=result)
        gate_up = static_gate_up.Shape(14336, 4096, architecture=architecture)
        yield job(static_gate_up, gate_up, static_gate_up.choices(gate_up, 128)[0])
    yield from _block_jobs(architecture)


def _block_jobs(architecture):
    """The ops over FP8 blocks by number of tokens; none where there is no FP8."""
    stream = block_input.Shape(4096)
    yield from (job(block_input, stream, c) for c in block_input.choices(stream, 8, architecture))
    for op, shape in (
        (block_linear, block_linear.Shape(6144, 4096, 1e-5)),
        (block_linear_residual, block_linear_residual.Shape(4096, 4096, 512)),
        (block_linear_residual, block_linear_residual.Shape(4096, 14336)),
        (block_gate_up, block_gate_up.Shape(14336, 4096, 1e-5)),
    ):
        for tokens in (8, 64):
            for choice in op.choices(shape, tokens, architecture)[:1]:
                yield job(op, shape, choice)
