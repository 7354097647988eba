"""Steps whose attention a library does: which they are, how the gate runs and rounds them."""

import pytest
import torch
from tiny_llama import CONFIG, random_model

from nacelle_builder.gate.fake_quantise import AS_COMPUTED, Rounding, Stretch
from nacelle_builder.gate.planned import NONE_PLANNED, PlannedSteps, planned_steps
from nacelle_builder.gate.reference import Reference
from nacelle_builder.gate.rounded_queries import rounded_queries
from nacelle_builder.gate.steps import Span
from nacelle_engine.limits import Limits
from nacelle_engine.program.attention_library import AttentionLibrary, BuiltLibrary
from nacelle_engine.program.launch import Binding, LaunchList, PagedAttentionLaunch, StepRange

ANY = Binding(source="buffer", name="x")
LIMITS = Limits(max_batch_size=16, max_input_len=900, max_seq_len=1000, max_num_tokens=2000)
QUERIES = Rounding(queries=True)


def steps(first=257, last=1024, launch="fa3", **changes):
    attention = PagedAttentionLaunch(
        library=launch, q=ANY, kv=ANY, block_table=ANY, out=ANY, scale=1.0
    )
    return StepRange(
        min_tokens=first, max_tokens=last, decode=False, numerics="quantised", embed=(),
        kinds={"layer.full": (attention,) if launch else ()}, **changes,
    )  # fmt: skip


def planned(*ranges, fp8=True):
    library = AttentionLibrary(
        name="fa3", file="fa3.so", algorithm="fa3", head_dim=64, group_size=2,
        kv_dtype="float8_e4m3fn" if fp8 else "bfloat16",
    )  # fmt: skip
    built = (BuiltLibrary(library=library, abi=""),)
    return planned_steps(
        LaunchList(kernels=(), libraries=built, buffers=(), steps=ranges, heads=())
    )


def test_the_ranges_that_call_a_library_are_planned():
    prompts = steps(tokens_a_request=128)
    made = planned(prompts, steps(1, launch=""))
    assert made == PlannedSteps((prompts,), fp8_queries=True)
    assert not planned(prompts, fp8=False).fp8_queries


@pytest.mark.parametrize(
    ("counts", "rounds"), [((150, 130), True), ((256,), False), ((150, 80, 80), False)]
)
def test_queries_are_rounded_in_the_librarys_steps_alone(counts, rounds):
    made = planned(steps(tokens_a_request=128))
    spans = [Span(number, 0, count) for number, count in enumerate(counts)]
    assert made.rounding(spans, AS_COMPUTED).queries == rounds
    assert not NONE_PLANNED.rounding(spans, AS_COMPUTED).queries


@pytest.mark.parametrize("longest", [200, 255, 256, 400, 1000, 4000])
@pytest.mark.parametrize("ends", [(257, 1024), (1025, 1999), (1025, 1030)])
def test_a_phase_runs_its_range(longest, ends):
    one = steps(*ends, tokens_a_request=128)
    limits = LIMITS.model_copy(update={"max_input_len": 150, "max_seq_len": longest})
    (phase,) = PlannedSteps((one,)).phases(limits)
    for spans in phase.steps:
        tokens = sum(span.count for span in spans)
        assert one.takes(tokens, len(spans), decode=False)
    assert (len(phase.steps) == 2) == (longest > 256)
    assert all(phase.length(n) <= longest for n in range(phase.sequences))


@pytest.fixture(scope="module")
def reference():
    return Reference(random_model(CONFIG))


def logits(reference, *stretches):
    ids = torch.arange(12)[None, :]
    return reference.logits(ids, [Stretch(tokens, rounding) for tokens, rounding in stretches])[0]


def test_the_queries_of_a_stretch_are_rounded_and_no_others(reference):
    plain = logits(reference, (12, AS_COMPUTED))
    rounded = logits(reference, (5, AS_COMPUTED), (7, QUERIES))
    assert torch.equal(rounded[:5], plain[:5])
    moved = (rounded - plain)[5:].norm() / plain[5:].norm()
    assert 1e-3 < moved < 0.3
    assert torch.equal(logits(reference, (12, AS_COMPUTED)), plain)


def queries_of(reference, monkeypatch):
    """What each layer's attention is given while queries are rounded."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS as FUNCTIONS

    plain, seen = FUNCTIONS["sdpa"], []

    def spy(module, query, *rest, **options):
        seen.append(query)
        return plain(module, query, *rest, **options)

    monkeypatch.setitem(FUNCTIONS, "sdpa", spy)
    with torch.no_grad(), rounded_queries(reference._model, [Stretch(12, QUERIES)]):
        reference._model(input_ids=torch.arange(12)[None, :], use_cache=False)
    assert FUNCTIONS["sdpa"] is spy
    return seen


def test_what_is_rounded_is_the_query_as_it_is_multiplied(reference, monkeypatch):
    seen = queries_of(reference, monkeypatch)
    assert len(seen) == CONFIG["num_hidden_layers"]
    for query in seen:
        assert torch.equal(query, query.to(torch.float8_e4m3fn).float())


def test_what_e4m3_cannot_hold_is_not_cut_off(monkeypatch):
    model = random_model(CONFIG)
    for layer in model.model.layers:
        layer.self_attn.q_proj.weight.data.mul_(300)
    largest = max(float(one.abs().max()) for one in queries_of(Reference(model), monkeypatch))
    assert largest > 460
