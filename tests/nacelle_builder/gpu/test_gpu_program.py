"""The launch list of a tiny Llama, interpreted on the CPU, against transformers' model."""

import pytest
import torch
from interpreted_gpu import open_interpreted
from tiny_llama import SPEC, VOCAB, random_model, write_weights

from nacelle_builder.compile.gpu.lower import lower
from nacelle_builder.compile.gpu.places import places
from nacelle_builder.compile.gpu.signature import signature_of
from nacelle_builder.compile.gpu.tactics import decide
from nacelle_builder.gate.fake_quantise import AS_COMPUTED, Rounding
from nacelle_builder.gate.fidelity import bounds_of
from nacelle_builder.gate.reference import Reference
from nacelle_builder.gate.steps import Span, block_tables, step_input
from nacelle_builder.numerics import quantises
from nacelle_engine.limits import Limits
from nacelle_engine.precision import ComputeType, Quantization, QuantizationAlgorithm
from nacelle_engine.recipe import Recipe

LIMITS = Limits(max_batch_size=6, max_input_len=200, max_seq_len=256, max_num_tokens=192)
LINEARS = [
    *(f"self_attn.{name}_proj" for name in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
]
# Every linear's input quantised with one scale a token.
PER_TOKEN = Rounding(
    {f"model.layers.{layer}.{name}": None for layer in range(SPEC.num_layers) for name in LINEARS}
)
ALGORITHMS = [QuantizationAlgorithm.FP8_PER_CHANNEL_PER_TOKEN, QuantizationAlgorithm.NONE]


# The interpreter knows no dependent launch: the architecture is one without.
class Tiny:
    """A program, its reference, and sequences whose cache the program holds."""

    def __init__(self, monkeypatch, rank, algorithm):
        quantization = Quantization(algorithm=algorithm)
        self.recipe = Recipe(architecture="sm_89", quantization=quantization, limits=LIMITS)
        model = random_model()
        write_weights(model, quantization, rank)
        self.reference = Reference(model)
        signature = signature_of(SPEC, self.recipe)
        chosen, _ = decide(places(SPEC, self.recipe), {}, "no GPU")
        lowered = lower(SPEC, self.recipe, chosen)
        self.program = open_interpreted(monkeypatch, rank, signature, lowered)

    def error(self, lengths, steps, rounding=AS_COMPUTED):
        """||found - wanted|| / ||wanted - mean|| over steps of spans (sequence, start, count)."""
        torch.manual_seed(len(steps))
        ids = [torch.randint(VOCAB, (length,)).tolist() for length in lengths]
        tables = block_tables(lengths)
        self.program.allocate_kv(1 + sum(map(len, tables)))
        reference = self.reference.rounded(rounding)
        wanted = [reference.logits(torch.tensor([one]))[0] for one in ids]
        errors, norms = [], []
        for step in steps:
            spans = [Span(*span) for span in step]
            found = self.program.run(step_input(spans, ids, tables, 1))
            rows = torch.cat([wanted[s.sequence][s.start : s.start + s.count] for s in spans])
            errors.append((found - rows).norm())
            norms.append((rows - rows.mean(1, keepdim=True)).norm())
        return float(torch.stack(errors).norm() / torch.stack(norms).norm())


@pytest.fixture(scope="module", params=ALGORITHMS)
def tiny(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Tiny(monkeypatch, tmp_path_factory.mktemp("tiny") / "rank0", request.param)


def bound(tiny, tokens):
    quantised = quantises(tiny.recipe, tokens)
    return bounds_of(ComputeType.BFLOAT16, SPEC.num_layers, quantised=quantised).together


def test_a_prompt_and_the_tokens_after_it(tiny):
    steps = [[(0, 0, 37)], *([(0, 37 + n, 1)] for n in range(3))]
    assert tiny.error([40], steps) < bound(tiny, 37)


def test_decode_of_a_batch_that_is_padded(tiny):
    lengths = [5, 33, 2, 40, 9]
    prompts = [[(n, 0, length - 1)] for n, length in enumerate(lengths) if length > 1]
    steps = [*prompts, [(n, length - 1, 1) for n, length in enumerate(lengths)]]
    assert tiny.error(lengths, steps) < bound(tiny, 40)


def test_prompts_chunks_and_decode_mixed_in_a_step(tiny):
    steps = [[(0, 0, 20), (1, 0, 33)], [(0, 20, 1), (1, 33, 5), (2, 0, 7)], [(2, 7, 1), (0, 21, 2)]]
    assert tiny.error([23, 38, 8], steps) < bound(tiny, 60)


def test_a_large_step(tiny):
    steps = [[(0, 0, 100), (1, 0, 50)], [(0, 100, 1), (1, 50, 1)]]
    if quantises(tiny.recipe, 150):
        error = tiny.error([101, 51], steps[:1], PER_TOKEN)
    else:
        error = tiny.error([101, 51], steps)
    assert error < bound(tiny, 150)
