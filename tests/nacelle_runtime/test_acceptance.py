"""Acceptance against the formula of speculative sampling, by statistics."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from distributions import DRAWS, check_distribution, draw, expected, ids

from nacelle_runtime.request import Sampling
from nacelle_runtime.speculation.acceptance import accept
from nacelle_runtime.speculation.synthetic import SyntheticAcceptance

VOCABULARY = 12
SOME = [
    Sampling(temperature=0.5),
    Sampling(temperature=2.0, top_k=3),
    Sampling(top_p=0.7),
    Sampling(temperature=1.5, top_k=5, top_p=0.9),
]


def logits(seed):
    return torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 2


def drawn_answers(rows, sampling, count):
    """For each seed the draws of all places, and what they draw without drafts."""
    draws = [
        [draw(replace(sampling, seed=number), place) for place in range(len(rows))]
        for number in range(count)
    ]
    tokens = ids(rows.repeat(count, 1), [one for some in draws for one in some])
    return [
        (some, tokens[number * len(rows) : (number + 1) * len(rows)])
        for number, some in enumerate(draws)
    ]


def residual(p, drafted):
    """max(0, p - q) renormalised, q being the drafted token for sure."""
    left = p.copy()
    left[drafted] = 0
    return left / left.sum()


@pytest.mark.slow
@pytest.mark.parametrize("sampling", SOME)
@pytest.mark.parametrize("likely", [0, 1])
def test_kept_tokens_and_the_ones_after_them_follow_the_formula(sampling, likely):
    """Two places: the second one's distribution is another, as after another text."""
    rows = torch.stack([logits(1), logits(2), logits(3)])
    p = [expected(row, sampling) for row in rows]
    # What is drafted: the likeliest tokens, or the next ones after them.
    drafted = [int(np.argsort(-one, kind="stable")[likely]) for one in p[:2]]
    found = [
        accept(draws, drafted, tokens) for draws, tokens in drawn_answers(rows, sampling, DRAWS)
    ]
    kept = np.array([len(tokens) - 1 for tokens in found])
    first, second = p[0][drafted[0]], p[1][drafted[1]]
    chances = np.array([1 - first, first * (1 - second), first * second])
    check_distribution(kept, chances)
    for place in range(2):
        assert all(t[:place] == drafted[:place] for t in found if len(t) > place)
        ended = np.array([tokens[place] for tokens in found if len(tokens) == place + 1])
        check_distribution(ended, residual(p[place], drafted[place]))
    check_distribution(np.array([t[2] for t in found if len(t) == 3] or [int(p[2].argmax())]), p[2])


@pytest.mark.parametrize("sampling", [Sampling(temperature=0), *SOME])
def test_they_are_the_tokens_that_are_drawn_without_drafts(sampling):
    """Kept or not, greedy or not, whatever was drafted."""
    rows = torch.stack([logits(seed) for seed in range(3)])
    kept = 0
    for draws, alone in drawn_answers(rows, sampling, 200):
        for drafted in ([3, 5], alone[:2], [alone[0], 7]):
            tokens = accept(draws, drafted, alone)
            assert tokens == alone[: len(tokens)]
            kept += len(tokens) - 1
    assert kept >= 200 * 3


def test_without_drafts_the_one_drawn_token_is_the_answers():
    assert accept([draw()], [], [4]) == [4]


@pytest.mark.parametrize(("probability", "low", "high"), [(0, 0, 0), (0.7, 0.66, 0.74), (1, 1, 1)])
def test_synthetic_acceptance_keeps_each_token_with_its_probability(probability, low, high):
    rule, tested, kept = SyntheticAcceptance(probability), 0, 0
    for number in range(1000):
        draws = [draw(Sampling(seed=number), place) for place in range(5)]
        tokens = rule(draws, [20, 21, 22, 23], [0, 1, 2, 3, 4])
        count = len(tokens) - 1
        assert tokens == [*[20, 21, 22, 23][:count], count]
        tested, kept = tested + count + (count < 4), kept + count
    assert low <= kept / tested <= high
