"""What the sampler's formulas give, and whether drawn tokens follow it.

Chi squared over the tokens that are expected at least five times (the rest as one), with fixed
seeds; a test fails when chance alone would do so once in a million runs.
"""

import numpy as np
import torch

from nacelle_runtime.batch import Draw
from nacelle_runtime.request import Sampling
from nacelle_runtime.sampling.sampler import draw_tokens

GREEDY = Sampling(temperature=0)
FALSE_ALARM = 1e-6
DRAWS = 4000


def draw(sampling=GREEDY, position=0, banned=(), seen=None):
    return Draw(sampling, position, frozenset(banned), seen)


def transformed(logits, sampling, banned=(), seen=None):
    """Step 1 of the sampler's docstring, one id after another in float64."""
    result = logits.double().tolist()
    for i in range(len(result)):
        if i in banned:
            result[i] = -np.inf
        result[i] += sampling.logit_bias.get(i, 0)
        if seen is None:
            continue
        if i in seen.prompt or i in seen.answer:
            r = sampling.repetition_penalty
            result[i] = result[i] / r if result[i] > 0 else result[i] * r
        if i in seen.answer:
            result[i] -= sampling.frequency_penalty * seen.answer[i] + sampling.presence_penalty
    return torch.tensor(result, dtype=torch.float64)


def expected(logits, sampling, banned=(), seen=None):
    """The distribution by the formulas: softmax, min_p, top_k, renormalise, top_p."""
    p = torch.softmax(transformed(logits, sampling, banned, seen) / sampling.temperature, dim=-1)
    p = p.tolist()
    order = sorted(range(len(p)), key=lambda i: (-p[i], i))
    kept = [i for i in order if p[i] >= sampling.min_p * p[order[0]]]
    kept = kept[: sampling.top_k or len(kept)]
    total, reached, nucleus = sum(p[i] for i in kept), 0.0, []
    for i in kept:
        if reached >= sampling.top_p * total:
            break
        nucleus.append(i)
        reached += p[i]
    result = np.zeros(len(p))
    for i in nucleus:
        result[i] = p[i] / reached
    return result


def check_distribution(tokens, p):
    """Chi squared of drawn tokens against probabilities [vocab]."""
    counts = np.bincount(tokens, minlength=len(p))
    assert counts[p == 0].sum() == 0, "a token that is cut or banned was drawn"
    likely = p * len(tokens) >= 5
    groups = [(counts[i], p[i] * len(tokens)) for i in np.flatnonzero(likely)]
    rare = p[~likely].sum() * len(tokens)
    if rare >= 5:
        groups.append((counts[~likely].sum(), rare))
    statistic = sum((found - wanted) ** 2 / wanted for found, wanted in groups)
    freedom = len(groups) - 1
    if freedom == 0:
        return
    half = torch.tensor([freedom / 2, statistic / 2], dtype=torch.float64)
    chance = torch.special.gammaincc(half[0], half[1]).item()
    assert chance > FALSE_ALARM, f"chi squared {statistic:.1f} at {freedom} degrees of freedom"


def ids(logits, draws):
    return draw_tokens(logits.clone(), draws).tolist()
