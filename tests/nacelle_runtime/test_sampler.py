"""The sampler against the formula in its docstring, exactly and by statistics."""

import numpy as np
import pytest
import torch

from nacelle_runtime.batch import Draw
from nacelle_runtime.request import Sampling
from nacelle_runtime.sampler import sample

GREEDY = Sampling(temperature=0)


def draw(sampling=GREEDY, position=0, banned=()):
    return Draw(sampling, position, frozenset(banned))


def expected(logits, sampling):
    """The distribution by the formula, in float64: softmax, top-k, renormalise, top-p."""
    p = torch.softmax(logits.double() / sampling.temperature, dim=-1)
    order = sorted(range(len(p)), key=lambda i: (-p[i].item(), i))
    kept = order[: sampling.top_k or len(order)]
    total, reached, nucleus = sum(p[i].item() for i in kept), 0.0, []
    for i in kept:
        if reached >= sampling.top_p * total:
            break
        nucleus.append(i)
        reached += p[i].item()
    result = np.zeros(len(p))
    for i in nucleus:
        result[i] = p[i].item() / reached
    return result


def test_greedy_takes_the_first_largest_and_heeds_bans():
    logits = torch.tensor([[1.0, 3.0, 3.0], [5.0, 4.0, 1.0]])
    assert sample(logits, [draw(), draw(banned=[0])]) == [1, 1]


@pytest.mark.parametrize("vocabulary", [7, 3000])
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1.0),
        Sampling(temperature=0.5),
        Sampling(temperature=2.0, top_k=3),
        Sampling(temperature=1.0, top_p=0.7),
        Sampling(temperature=1.5, top_k=5, top_p=0.9),
        Sampling(temperature=8.0, top_p=0.999),
        Sampling(temperature=8.0, top_k=2000, top_p=0.9),
    ],
)
def test_the_drawn_tokens_follow_the_formula(sampling, vocabulary):
    draws, total = 4000, 0.0
    logits = torch.randn(vocabulary, generator=torch.Generator().manual_seed(3)) * 3
    p = expected(logits, sampling)
    seeds = [
        Sampling(sampling.temperature, sampling.top_k, sampling.top_p, s) for s in range(draws)
    ]
    tokens = sample(logits.expand(draws, -1).clone(), [draw(s) for s in seeds])
    counts = np.bincount(tokens, minlength=vocabulary)
    assert counts[p == 0].sum() == 0, "a token outside of top-k or top-p was drawn"
    likely = p * draws >= 5
    rare_p, rare = p[~likely].sum(), counts[~likely].sum()
    total = ((counts[likely] - p[likely] * draws) ** 2 / (p[likely] * draws)).sum()
    if rare_p * draws >= 5:
        total += (rare - rare_p * draws) ** 2 / (rare_p * draws)
    freedom = max(int(likely.sum()), 1)
    assert total < freedom + 4.5 * np.sqrt(2 * freedom) + 6, "chi squared is too large"


def test_a_row_gets_the_same_token_in_every_batch():
    logits = torch.randn(6, 500, generator=torch.Generator().manual_seed(1))
    samplings = [
        Sampling(0.9, seed=1),
        Sampling(0.9, top_p=0.5, seed=2),
        GREEDY,
        Sampling(1.1, top_k=4, seed=3),
        Sampling(0.7, top_k=40, top_p=0.95, seed=4),
        Sampling(1.0, seed=1),
    ]
    draws = [draw(s, position) for position, s in enumerate(samplings)]
    together = sample(logits.clone(), draws)
    alone = [sample(logits[i : i + 1].clone(), [d])[0] for i, d in enumerate(draws)]
    assert together == alone


def test_a_tiny_temperature_is_greedy_and_not_a_number_never():
    logits = torch.tensor([[100.0, 99.0, -100.0]])
    assert sample(logits, [draw(Sampling(temperature=1e-6, seed=9))]) == [0]
