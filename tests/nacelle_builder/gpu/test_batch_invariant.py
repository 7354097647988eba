"""BatchInvariant: a token's logits are the same bits in whatever step it is computed."""

import families
import pytest
import torch
from tiny_family import TinyFamily

# The same sequence, of a length beyond gemma3's window: its prompt at once, in chunks, by single
# tokens; alone and beside others. After a preemption all of it is computed as a prompt again.
LENGTH = 50
WAYS = (
    [[(0, 0, 50)]],
    [[(0, 0, 33)], [(0, 33, 14), (1, 0, 9)], *([(0, n, 1)] for n in (47, 48)), [(0, 49, 1)]],
    [[(1, 0, 20), (0, 0, 46)], *([(0, n, 1), (1, n - 26, 1)] for n in (46, 47, 48, 49))],
)


@pytest.fixture(scope="module", params=["qwen2", "gemma3"])
def tiny(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        root = tmp_path_factory.mktemp(request.param)
        yield TinyFamily(monkeypatch, root, request.param, recipe={"determinism": "BatchInvariant"})


@pytest.fixture(scope="module")
def ids():
    torch.manual_seed(0)
    return [torch.randint(families.VOCAB, (LENGTH,)).tolist() for _ in range(2)]


@pytest.fixture(scope="module")
def made(tiny, ids):
    """The logits of every way's steps."""
    return [list(tiny.logits(ids, way)) for way in WAYS]


def test_a_token_is_the_same_in_any_step(made):
    found = [
        torch.cat(
            [
                rows[place : place + span.count]
                for spans, rows in steps
                for place, span in _places(spans)
                if span.sequence == 0
            ]
        )
        for steps in made
    ]
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_it_is_the_family_s_model(tiny, ids, made):
    steps = WAYS[1]
    assert {tiny.class_of(step) for step in steps} == {"fused"}
    # The second sequence has nine tokens in these steps.
    computed = [ids[0], ids[1][:9]]
    assert tiny.error_of(computed, steps, made[1], tiny.roundings) < tiny.bound(steps)


def _places(spans):
    place = 0
    for span in spans:
        yield place, span
        place += span.count
