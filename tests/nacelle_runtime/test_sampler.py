"""The sampler against the formulas in its docstrings, exactly and by statistics."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from distributions import (
    DRAWS,
    GREEDY,
    check_distribution,
    draw,
    expected,
    ids,
    transformed,
)

from nacelle_runtime.batch import Batch, Chunk, Score
from nacelle_runtime.request import Sampling, Seen
from nacelle_runtime.sampling import cuts
from nacelle_runtime.sampling.sampler import sample

PROMPT, ANSWER = frozenset({1, 2, 5}), Counter({2: 3, 4: 1})


def drawn(logits, sampling, banned=(), seen=None):
    draws = [draw(replace(sampling, seed=n), n % 7, banned, seen) for n in range(DRAWS)]
    return ids(logits.expand(DRAWS, -1), draws)


def test_greedy_takes_the_first_largest_and_heeds_bans():
    logits = torch.tensor([[1.0, 3.0, 3.0], [5.0, 4.0, 1.0]])
    assert ids(logits, [draw(), draw(banned=[0])]) == [1, 1]


CUTS = [
    Sampling(),
    Sampling(temperature=0.5),
    Sampling(temperature=2.0, top_k=3),
    Sampling(top_p=0.7),
    Sampling(min_p=0.2),
    Sampling(temperature=1.5, top_k=5, top_p=0.9),
    Sampling(temperature=1.5, top_k=5, top_p=0.9, min_p=0.05),
    Sampling(temperature=3, top_p=0.8, min_p=0.1),
    Sampling(temperature=8.0, top_p=0.999),
    Sampling(temperature=8.0, min_p=0.01),
    Sampling(temperature=8.0, top_p=0.9, min_p=0.001),
    Sampling(temperature=8.0, top_k=40, top_p=0.9),
]


@pytest.mark.slow
@pytest.mark.parametrize("vocabulary", [7, 60])
@pytest.mark.parametrize("sampling", CUTS)
def test_the_drawn_tokens_follow_the_formula(sampling, vocabulary, monkeypatch):
    """Of few candidates: what is kept lies within them or goes beyond."""
    monkeypatch.setattr(cuts, "_CANDIDATES", 16)
    logits = torch.randn(vocabulary, generator=torch.Generator().manual_seed(3)) * 3
    check_distribution(drawn(logits, sampling), expected(logits, sampling))


@pytest.mark.slow
@pytest.mark.parametrize("sampling", [Sampling(top_p=0.7), Sampling(8.0, top_k=1100, top_p=0.9)])
def test_so_do_those_of_a_vocabulary_larger_than_the_candidates(sampling):
    logits = torch.randn(1200, generator=torch.Generator().manual_seed(3)) * 3
    check_distribution(drawn(logits, sampling), expected(logits, sampling))


CHANGES = [
    ({"repetition_penalty": 1.7}, ()),
    ({"repetition_penalty": 0.6}, ()),
    ({"presence_penalty": 1.5}, ()),
    ({"presence_penalty": -1.0}, ()),
    ({"frequency_penalty": 0.8}, ()),
    ({"logit_bias": {0: 2.5, 3: -1.5, 6: -100.0}}, ()),
    ({}, (2, 3)),
    ({"repetition_penalty": 1.3, "presence_penalty": 0.4, "frequency_penalty": -0.3}, (0,)),
    (
        {
            "repetition_penalty": 1.2,
            "presence_penalty": 0.5,
            "frequency_penalty": 0.2,
            "logit_bias": {5: 1.0, 0: -0.5, 2: 2.0},
            "temperature": 1.4,
            "top_k": 6,
            "top_p": 0.95,
            "min_p": 0.02,
        },
        (3,),
    ),
]


@pytest.mark.parametrize(("fields", "banned"), CHANGES)
def test_each_change_of_logits_follows_the_formula(fields, banned):
    logits = torch.tensor([0.5, -0.3, 0.8, -0.6, 0.2, -0.2, 0.9, -0.9])
    sampling, seen = Sampling(**fields), Seen(PROMPT, ANSWER)
    wanted = expected(logits, sampling, banned, seen)
    plain = expected(logits, Sampling())
    assert np.abs(wanted - plain).sum() > 0.1, "the field changes too little to be seen"
    check_distribution(drawn(logits, sampling, banned, seen), wanted)


@pytest.mark.parametrize(("fields", "banned"), CHANGES)
def test_greedy_takes_the_largest_after_the_changes(fields, banned):
    seen = Seen(PROMPT, ANSWER)
    sampling = Sampling(**(fields | {"temperature": 0}))
    logits = torch.randn(50, 8, generator=torch.Generator().manual_seed(6)) * 2
    wanted = [int(transformed(row, sampling, banned, seen).argmax()) for row in logits]
    assert ids(logits, [draw(sampling, 0, banned, seen)] * 50) == wanted
    assert wanted != logits.argmax(-1).tolist(), "the changes change no choice"


def test_the_test_of_distributions_can_fail():
    logits = torch.randn(7, generator=torch.Generator().manual_seed(3))
    tokens = drawn(logits, Sampling(temperature=1.5))
    with pytest.raises(AssertionError, match="chi squared"):
        check_distribution(tokens, expected(logits, Sampling()))


def test_a_row_gets_the_same_token_in_every_batch():
    logits = torch.randn(9, 500, generator=torch.Generator().manual_seed(1))
    seen = Seen(frozenset({3}), Counter({7: 2}))
    draws = [
        draw(Sampling(0.9, seed=1), 0),
        draw(Sampling(0.9, top_p=0.5, seed=2), 1),
        draw(GREEDY, 2),
        draw(Sampling(1.1, top_k=4, seed=3), 3, banned=[5]),
        draw(Sampling(0.7, top_k=40, top_p=0.95, seed=4), 4),
        draw(Sampling(1.0, seed=1), 5),
        draw(Sampling(1.0, min_p=0.1, seed=6, repetition_penalty=1.5), 6, seen=seen),
        draw(Sampling(2.0, seed=7, frequency_penalty=1.0), 7, seen=seen),
        draw(Sampling(0.0, logit_bias={9: 8.0}), 8),
    ]
    together = ids(logits, draws)
    alone = [ids(logits[i : i + 1], [d])[0] for i, d in enumerate(draws)]
    assert together == alone


def test_seeds_and_positions_give_numbers_of_their_own():
    logits = torch.zeros(1, 1000)
    tokens = {
        (seed, position): ids(logits, [draw(Sampling(seed=seed), position)])[0]
        for seed in (0, 1, -1, 2**63 - 1)
        for position in (0, 1, 2**33)
    }
    assert len(set(tokens.values())) == len(tokens)


def test_a_tiny_temperature_is_greedy_and_not_a_number_never():
    logits = torch.tensor([[100.0, 99.0, -100.0]])
    assert ids(logits, [draw(Sampling(temperature=1e-6, seed=9))]) == [0]


def test_log_probabilities_are_the_models_own_and_ranked():
    logits = torch.randn(3, 40, generator=torch.Generator().manual_seed(2))
    own = torch.log_softmax(logits.double(), -1)
    biased = Sampling(temperature=0, logit_bias={17: 100.0}, logprobs=5)
    draws = [draw(biased), draw(GREEDY), draw(Sampling(temperature=0, logprobs=0))]
    chunks = [Chunk((0, n), n, [1], 0, [1], (one,)) for n, one in enumerate(draws)]
    found = sample(logits.clone(), Batch(chunks)).drawn()
    assert found.tokens[0] == 17
    assert set(found.logprobs) == {0, 2}
    first, last = found.logprobs[0], found.logprobs[2]
    order = own[0].argsort(descending=True).tolist()
    assert first.value == pytest.approx(own[0, 17].item(), abs=1e-5)
    assert first.rank == order.index(17) + 1
    assert first.ids == order[:5]
    assert first.values == pytest.approx(own[0, order[:5]].tolist(), abs=1e-5)
    assert (last.rank, last.ids) == (1, [])


@pytest.mark.parametrize("count", [1, 64, 65, 150])
def test_prompts_are_scored_row_by_row(count):
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(1 + count + 3, 30, generator=generator)
    targets = tuple(torch.randint(30, (count + 3,), generator=generator).tolist())
    chunks = [
        Chunk((0, 0), 0, [1], 0, [1], (draw(),)),
        Chunk((0, 1), 1, [1] * count, 0, [1], (), Score(0, targets[:count], 2)),
        Chunk((0, 2), 2, [1] * 3, 0, [1], (), Score(0, targets[count:], 2)),
    ]
    found = sample(logits.clone(), Batch(chunks)).drawn().scores
    own = torch.log_softmax(logits[1:].double(), -1)
    assert [len(found[n]) for n in (1, 2)] == [count, 3]
    both = [*found[1], *found[2]]
    assert [s.value for s in both] == pytest.approx(
        [own[n, t].item() for n, t in enumerate(targets)], abs=1e-5
    )
    assert [s.ids for s in both] == own.topk(2).indices.tolist()
