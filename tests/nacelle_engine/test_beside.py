"""Which answers of a step are run before its prompts, and what the two halves are."""

import pytest
import torch

from nacelle_engine.program.beside import answers_apart, split
from nacelle_engine.program.launch import LaunchList, PagedAttentionLaunch, StepRange
from nacelle_engine.program.step import StepInput


def binding(name):
    return {"source": "state", "name": name}


def ranges():
    """Steps of 128 tokens a request and more are planned; all others are not."""
    planned = PagedAttentionLaunch(
        library="fa3",
        q={"source": "buffer", "name": "q"},
        kv=binding("kv"),
        block_table={"source": "input", "name": "block_table"},
        out={"source": "buffer", "name": "attention"},
        scale=1.0,
    )
    common = {"max_tokens": 8192, "decode": False, "numerics": "quantised", "embed": ()}
    return LaunchList(
        kernels=(),
        buffers=(),
        steps=(
            StepRange(
                min_tokens=257, tokens_a_request=128, kinds={"layer.full": (planned,)}, **common
            ),
            StepRange(min_tokens=1, query_tile=32, kinds={"layer.full": ()}, **common),
        ),
        heads=(),
    )


def step(counts, drawn=None):
    """Requests of so many tokens; the last of each is drawn, or the rows given."""
    q_start = torch.tensor([0, *counts]).cumsum(0).int()
    tokens = int(q_start[-1])
    last = q_start[1:].long() - 1
    return StepInput(
        token_ids=torch.arange(tokens),
        positions=torch.arange(tokens) + 100,
        slots=torch.arange(tokens) + 200,
        q_start=q_start,
        block_tables=(torch.arange(2 * len(counts)).int().view(-1, 2),),
        seq_lens=torch.tensor(counts).int() + 7,
        logits_rows=last if drawn is None else torch.tensor(drawn),
    )


@pytest.mark.parametrize(
    ("counts", "drawn", "count"),
    [
        pytest.param([1] * 16 + [300], None, 16, id="a prompt beside sixteen answers"),
        pytest.param([1] * 23 + [300], None, 23, id="a prompt beside more answers"),
        pytest.param([1] * 24 + [300, 290], None, 24, id="two prompts"),
        pytest.param([1] * 15 + [300], None, 0, id="too few answers"),
        pytest.param([1] * 24, None, 0, id="answers alone are a decode step"),
        pytest.param([1] * 24 + [100, 100], None, 0, id="prompts too short for a library"),
        pytest.param([1] * 24 + [200], None, 0, id="few tokens, which a graph holds"),
        pytest.param([300] + [1] * 24, None, 0, id="the prompt comes first"),
        pytest.param([1] * 24 + [900], [*range(20), 923], 20, id="the 21st is not drawn"),
        pytest.param([1] * 24 + [300], [], 0, id="nothing is drawn"),
        pytest.param([1] * 24 + [300], range(24), 24, id="the prompt is not at its end"),
    ],
)
def test_answers_are_apart_where_a_library_attends_to_the_rest(counts, drawn, count):
    assert answers_apart(step(counts, drawn), ranges(), 128256) == count


@pytest.mark.parametrize(("vocabulary", "count"), [(49152, 23), (32002, 22), (32001, 20)])
def test_the_logits_of_the_rest_begin_at_an_aligned_address(vocabulary, count):
    assert answers_apart(step([1] * 23 + [900]), ranges(), vocabulary) == count


def test_the_halves_are_steps_of_their_own():
    whole = step([1] * 16 + [300, 5])
    first, others = split(whole, 16)
    assert first.q_start.tolist() == list(range(17))
    assert first.logits_rows.tolist() == list(range(16))
    assert others.q_start.tolist() == [0, 300, 305]
    assert others.logits_rows.tolist() == [299, 304]
    for name in ("token_ids", "positions", "slots", "seq_lens"):
        halves = torch.cat([getattr(first, name), getattr(others, name)])
        assert torch.equal(halves, getattr(whole, name)), name
    tables = torch.cat([first.block_tables[0], others.block_tables[0]])
    assert torch.equal(tables, whole.block_tables[0])
    assert others.block_tables[0].is_contiguous() and others.q_start.dtype == torch.int32
