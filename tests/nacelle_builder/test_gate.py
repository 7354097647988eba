"""The gate: right engines pass, a wrong scale or a wrong kernel is stopped and named."""

import math
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from nacelle_builder.calibrate.scales import KvScale
from nacelle_builder.convert.checkpoint import open_checkpoint
from nacelle_builder.convert.convert import convert, read_model
from nacelle_builder.gate.fake_quantise import AS_COMPUTED, PerBlock, Rounding
from nacelle_builder.gate.fidelity import Bounds, Errors, check_programs, phases
from nacelle_builder.gate.measure import measure
from nacelle_builder.gate.quality import Meter, judge, violations
from nacelle_builder.gate.reference import Reference
from nacelle_builder.gate.steps import block_tables, phase, step_input
from nacelle_builder.gate.text import text_ids, windows
from nacelle_builder.gate.weights import check_weights
from nacelle_builder.numerics import StepClasses
from nacelle_builder.source.files import find_checkpoint
from nacelle_builder.source.weights import open_weights
from nacelle_engine.errors import AccuracyFailed, FidelityFailed, InvalidModel, InvalidRequest
from nacelle_engine.limits import Limits
from nacelle_engine.precision import ComputeType, Quantization, QuantizationAlgorithm
from nacelle_engine.request import AccuracyBounds
from nacelle_engine.result import Accuracy

LIMITS = Limits(max_batch_size=16, max_input_len=100, max_seq_len=200, max_num_tokens=256)
FP8 = Quantization(compute_type=ComputeType.FLOAT32)


def quiet(percent, message):
    """No progress."""


class EagerProgram:
    """A Program over an eager model: its "cache" holds the token id that each slot was fed.

    So every token's history is read back through slots and block tables, as a kernel would.
    """

    device = torch.device("cpu")

    def __init__(self, reference, layers=2):
        self.reference = reference
        self.signature = SimpleNamespace(
            compute_type=ComputeType.FLOAT32,
            layers=[None] * layers,
            kv_groups=[None],
            vocab_size=reference._model.config.vocab_size,
        )

    def allocate_kv(self, blocks):
        self.cache = torch.full((blocks, 32), -1)

    def run(self, step):
        self.cache.view(-1)[step.slots] = step.token_ids
        rows = []
        for r in range(len(step.seq_lens)):
            begin, end = int(step.q_start[r]), int(step.q_start[r + 1])
            history = self.cache[step.block_tables[0][r].long()].view(-1)[: step.seq_lens[r]]
            logits = self.reference.logits(history[None])[0]
            rows.append(logits[step.positions[begin:end]])
        return torch.cat(rows)[step.logits_rows]


@pytest.fixture(scope="module")
def source(tiny):
    return read_model(find_checkpoint(tiny))


@pytest.fixture
def rank(source, tmp_path):
    convert(source, FP8, tmp_path / "checkpoint", quiet)
    return tmp_path / "checkpoint" / "rank0.safetensors"


@pytest.fixture
def quantised(tiny, source, rank):
    """Makes a reference with the converted weights; fields of its config can be changed."""

    def make(**fields):
        reference = Reference.load(tiny)
        with open_checkpoint(rank) as checkpoint:
            reference.take_weights(source.spec, source.sources, checkpoint)
        for name, value in fields.items():
            setattr(reference._model.config, name, value)
        return reference

    return make


@pytest.fixture(scope="module")
def ids(tiny, source):
    return text_ids(tiny / "tokenizer.json", source.spec.vocab_size)


def weights_leg(source, rank, quantization=FP8):
    with open_weights(source.index, source.stored) as reader, open_checkpoint(rank) as checkpoint:
        return check_weights(source.spec, source.sources, reader, checkpoint, quantization)


def test_rounding_alone_passes_the_weights_leg(source, rank):
    assert 0.02 < weights_leg(source, rank) < 0.03


@pytest.mark.parametrize("compute", list(ComputeType))
def test_unquantised_weights_pass_too(source, tmp_path, compute):
    plain = Quantization(algorithm=QuantizationAlgorithm.NONE, compute_type=compute)
    convert(source, plain, tmp_path / "c", quiet)
    assert weights_leg(source, tmp_path / "c" / "rank0.safetensors", plain) < 0.005


MLP = "transformer.layers.1.mlp.proj"


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (
            lambda t: t[f"{MLP}.per_channel_scale"][3].mul_(1.25),
            rf"{MLP}\.weight: output channel 3 \(and 0 more\) differs .* by 0\.2[3-7]",
        ),
        (lambda t: t[f"{MLP}.per_channel_scale"].mul_(1.05), rf"{MLP}\.weight.* scales? (is|are)"),
        (
            lambda t: t[f"{MLP}.per_channel_scale"].copy_(t[f"{MLP}.per_channel_scale"].roll(1)),
            rf"{MLP}\.weight: output channel",
        ),
        (
            lambda t: t["transformer.ln_f.weight"][5].add_(0.01),
            r"transformer\.ln_f\.weight: output channel 5",
        ),
        (
            lambda t: t["transformer.layers.0.attention.qkv.weight"].copy_(
                t["transformer.layers.0.attention.qkv.weight"]
                .float()
                .roll(64, 0)
                .to(torch.float8_e4m3fn)
            ),
            r"layers\.0\.attention\.qkv\.weight: output channel 0",
        ),
    ],
)
def test_a_planted_wrong_weight_is_named(source, rank, plant, message):
    tensors = load_file(rank)
    plant(tensors)
    save_file(tensors, rank)
    with pytest.raises(FidelityFailed, match=message):
        weights_leg(source, rank)


def check(program, reference, ids, rounding=AS_COMPUTED, limits=LIMITS):
    """The gate of an engine whose steps all round alike."""
    roundings = dict.fromkeys(("fused", "block", "quantised"), rounding)
    classes = StepClasses(fused=LIMITS.max_num_tokens, block=0)
    check_programs(program, reference, roundings, ids, classes, limits, quiet)


def test_right_programs_pass_every_phase(quantised, ids):
    reference = quantised()
    check(EagerProgram(reference), reference, ids)


def test_the_eager_models_own_rounding_widens_the_bounds_and_never_narrows_them():
    bounds = Bounds(together=0.06, row=0.24)
    assert bounds.widened(Errors(together=0.12, row=0.1)) == Bounds(together=0.15, row=0.24)
    assert bounds.widened(Errors(together=0.01, row=0.4)) == Bounds(together=0.06, row=0.5)


def test_not_a_number_is_within_no_bounds():
    assert not Errors(together=float("nan"), row=0.0).within(Bounds(1.0, 1.0))
    assert not Errors(together=0.0, row=float("nan")).within(Bounds(1.0, 1.0))


@pytest.mark.parametrize(
    "limits",
    [
        Limits(max_batch_size=1, max_input_len=1, max_seq_len=2, max_num_tokens=1),
        Limits(max_batch_size=3, max_input_len=30, max_seq_len=31, max_num_tokens=7),
    ],
)
def test_small_limits_cut_the_phases_and_nothing_else(quantised, ids, limits):
    for item in phases(limits):
        for spans in item.steps:
            assert sum(span.count for span in spans) <= limits.max_num_tokens
            assert len(spans) <= limits.max_batch_size
        assert all(item.length(n) <= limits.max_seq_len for n in range(item.sequences))
    reference = quantised()
    check(EagerProgram(reference), reference, ids, limits=limits)


@pytest.mark.slow
def test_a_program_that_quantises_activations_needs_a_reference_that_does_too(quantised, ids):
    inputs = [
        f"model.layers.{n}.{name}_proj"
        for n in range(2)
        for name in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.down")
    ]
    rounding = Rounding(dict.fromkeys(inputs), (KvScale(k=0.05, v=0.05),) * 2)
    reference = quantised()
    program = EagerProgram(reference.rounded(rounding))
    check(program, quantised(), ids, rounding)
    with pytest.raises(FidelityFailed, match="prefill in one step"):
        check(program, reference, ids)


def test_each_steps_tokens_are_judged_by_its_own_class(quantised, ids):
    """Decode batches that round, judged by a reference that rounds their tokens alone."""
    coarse = Rounding({f"model.layers.{n}.mlp.down_proj": PerBlock(16) for n in range(2)})
    roundings = {"fused": AS_COMPUTED, "block": coarse, "quantised": AS_COMPUTED}
    classes = StepClasses(fused=LIMITS.max_num_tokens, block=16)
    seen = []

    class Seen(Reference):
        def logits(self, ids, stretches=None):
            seen.append([(one.tokens, one.rounding) for one in stretches])
            return super().logits(ids, stretches)

    reference = quantised()
    check_programs(
        EagerProgram(reference), Seen(reference._model), roundings, ids, classes, LIMITS, quiet
    )
    # Prefill of 160; chunks; 30 and one at a time; then batches, whose decode steps round.
    assert all(rounding is AS_COMPUTED for one in seen[:3] for _, rounding in one)
    assert seen[3] == [(5, AS_COMPUTED), *[(1, coarse)] * 4]


class WrongRope(EagerProgram):
    """Turns by another base."""

    def __init__(self, reference):
        super().__init__(reference)
        reference._model.model.rotary_emb.inv_freq.mul_(1.5)


class WrongActivation(EagerProgram):
    """gelu where silu belongs, in one layer."""

    def __init__(self, reference):
        super().__init__(reference)
        reference._model.model.layers[1].mlp.act_fn = torch.nn.GELU()


class WrongLayer(EagerProgram):
    """One linear of one layer scaled by 1.25, which quality alone hardly sees."""

    def __init__(self, reference):
        super().__init__(reference)
        reference._model.model.layers[0].mlp.down_proj.weight.data.mul_(1.25)


class WrongDecode(EagerProgram):
    """A kernel for one token that is off by 1 %."""

    def run(self, step):
        logits = super().run(step)
        return logits * 1.01 if len(step.token_ids) == 1 else logits


class WrongBlocks(EagerProgram):
    """Reads the cache as if blocks lay in a row."""

    def run(self, step):
        first = step.block_tables[0][:, :1]
        table = (first + torch.arange(step.block_tables[0].shape[1])).clamp_max(len(self.cache) - 1)
        self.cache.clamp_min_(0)
        return super().run(replace(step, block_tables=(table,)))


class NotANumber(EagerProgram):
    """One NaN in one row."""

    def run(self, step):
        logits = super().run(step)
        logits[-1, 0] = math.nan
        return logits


class Refuses(EagerProgram):
    """Takes no step."""

    def run(self, step):
        raise ValueError("slots has 3 elements")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (WrongRope, "prefill in one step: .* a kernel computes something else"),
        (WrongActivation, "prefill in one step"),
        (WrongLayer, "prefill in one step"),
        (WrongDecode, r"prefill in chunks|decode of 1 sequence"),
        (WrongBlocks, "prefill in"),
        (NotANumber, "by nan of their norm"),
        (Refuses, "the programs refuse a step: slots has 3 elements"),
    ],
)
def test_a_wrong_kernel_is_stopped_and_its_phase_named(quantised, ids, wrong, message):
    with pytest.raises(FidelityFailed, match=message):
        check(wrong(quantised()), quantised(), ids)


def test_the_quality_of_fp8_weights_is_small_but_not_nothing(tiny, quantised, ids):
    texts = windows(ids, 16, LIMITS.max_seq_len)
    accuracy = measure(EagerProgram(quantised()), Reference.load(tiny), texts, LIMITS, quiet)
    assert accuracy.positions == 16 * (texts.shape[1] - 1)
    assert 0 < float(accuracy.mean_kl_divergence) < float(accuracy.p99_kl_divergence)
    assert float(accuracy.top_one_agreement_percent) > 80


def test_an_engine_equal_to_its_reference_has_perfect_quality(tiny, ids):
    limits = Limits(max_batch_size=3, max_input_len=30, max_seq_len=31, max_num_tokens=7)
    reference = Reference.load(tiny)
    texts = windows(ids, 5, limits.max_seq_len)
    accuracy = measure(EagerProgram(reference), reference, texts, limits, quiet)
    assert float(accuracy.mean_kl_divergence) < 1e-5
    assert accuracy.top_one_agreement_percent == "100.00"
    assert abs(float(accuracy.perplexity_increase_percent)) < 0.01


def test_the_figures_follow_their_formulas():
    reference = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.3, 0.0]])
    engine = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.3, 0.0]])
    meter = Meter()
    meter.add(reference, engine, torch.tensor([0, 1]))
    p, q = torch.softmax(reference[0], 0), torch.softmax(engine[0], 0)
    divergence = float((p * (p / q).log()).sum())
    accuracy = meter.accuracy()
    assert float(accuracy.mean_kl_divergence) == pytest.approx(divergence / 2, abs=1e-5)
    # The second position's margin is 0.3: it does not count, so 0 of 1 agree.
    assert accuracy.top_one_agreement_percent == "0.00"
    ratio = math.exp(float(p[0].log() - q[0].log()) / 2) - 1
    assert float(accuracy.perplexity_increase_percent) == pytest.approx(100 * ratio, abs=1e-2)
    assert accuracy.positions == 2


@pytest.mark.parametrize(
    ("loss", "increase"),
    [(9.0, "8103"), (70.0, "2.515e+32"), (1000.0, "inf"), (math.nan, "nan")],
)
def test_an_engine_that_is_far_off_is_told_so(loss, increase):
    meter = Meter()
    reference = torch.tensor([[0.0, -100.0]])
    meter.add(reference, torch.tensor([[-loss, 0.0]]), torch.tensor([0]))
    accuracy = meter.accuracy()
    assert accuracy.perplexity_increase_percent.startswith(increase)
    broken = violations(accuracy, AccuracyBounds())
    assert any("perplexity increase percent" in one for one in broken)


FIGURES = Accuracy(
    mean_kl_divergence="0.050000",
    p99_kl_divergence="0.4",
    top_one_agreement_percent="90.00",
    perplexity_increase_percent="5.000",
    positions=10,
)


@pytest.mark.parametrize(
    ("figures", "broken"),
    [
        ({}, []),
        (
            {"mean_kl_divergence": "0.050001"},
            ["mean KL divergence 0.050001 is above accuracy.maxKLDivergence 0.05"],
        ),
        (
            {"top_one_agreement_percent": "89.99"},
            ["top-1 agreement percent 89.99 is below accuracy.minTopOneAgreementPercent 90"],
        ),
        (
            {"perplexity_increase_percent": "nan"},
            ["perplexity increase percent nan is above accuracy.maxPerplexityIncreasePercent 5"],
        ),
    ],
)
def test_bounds_are_judged_on_the_figures(figures, broken):
    accuracy = FIGURES.model_copy(update=figures)
    assert violations(accuracy, AccuracyBounds()) == broken
    assert judge(accuracy, AccuracyBounds(on_failure="Publish")) == broken
    if broken:
        with pytest.raises(AccuracyFailed, match=broken[0].split()[0]):
            judge(accuracy, AccuracyBounds())


def test_blocks_are_distinct_never_0_and_not_in_a_row():
    tables = block_tables([70, 1, 33])
    blocks = [block for table in tables for block in table]
    assert sorted(blocks) == list(range(1, 7))
    assert [len(table) for table in tables] == [3, 1, 2]
    assert all(b != a + 1 for table in tables for a, b in pairwise(table))


def test_a_step_lists_positions_slots_and_rows():
    item = phase("p", [[3, 1], [0, 34]], LIMITS)
    ids = [[5, 6, 7, 8], list(range(34))]
    step = step_input(item.steps[1], ids, [[4], [2, 9]], groups=2)
    assert step.token_ids.tolist() == [8, *range(34)]
    assert step.positions.tolist() == [3, *range(34)]
    assert step.slots.tolist()[:2] == [4 * 32 + 3, 2 * 32]
    assert step.slots.tolist()[-2:] == [9 * 32, 9 * 32 + 1]
    assert step.q_start.tolist() == [0, 1, 35]
    assert step.seq_lens.tolist() == [4, 34]
    assert [t.tolist() for t in step.block_tables] == [[[4, 0], [2, 9]]] * 2
    types = {name: getattr(step, name).dtype for name in ("q_start", "seq_lens")}
    assert set(types.values()) == {torch.int32}
    assert step.token_ids.dtype == step.slots.dtype == step.logits_rows.dtype == torch.int64


def test_more_samples_than_the_text_holds_are_refused(ids):
    with pytest.raises(InvalidRequest, match=r"accuracy\.samples 4000 is above"):
        windows(ids, 4000, 512)


def test_a_tokenizer_of_another_model_is_refused(tiny, model):
    with pytest.raises(InvalidModel, match="vocab_size 100"):
        text_ids(tiny / "tokenizer.json", 100)
    (model / "tokenizer.json").write_text("{}")
    with pytest.raises(InvalidModel, match=r"tokenizer\.json cannot be read"):
        text_ids(model / "tokenizer.json", 320)
