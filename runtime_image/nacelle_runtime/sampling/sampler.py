"""From logits to token ids, all in float32, in this order:

1. Ids that are not allowed (bad words, stop ids before min_tokens) get -inf, logit_bias is added,
   then the penalties are applied (transforms.py).
2. Temperature 0 takes the first largest logit. Else p = softmax(logits / temperature).
3. min_p, then top_k, then top_p cut what is unlikely (cuts.py).
4. With u in [0, 1) from (seed, position), the token is the first whose cumulated probability
   exceeds u.

This is vLLM's order: clients meet these fields together there first, and their values are tuned
against it. Log-probabilities that are told are the model's own, before step 1 (logprobs.py), as
vLLM tells them too. A row's token does not depend on the other rows. Ties keep the order of ids.
"""

from collections.abc import Sequence

import torch

from nacelle_runtime.batch import Batch, Draw, Drawn
from nacelle_runtime.philox import Purpose, uniforms
from nacelle_runtime.sampling.cuts import pick, pick_cut
from nacelle_runtime.sampling.logprobs import score_prompts, tell
from nacelle_runtime.sampling.transforms import transform


def sample(logits: torch.Tensor, batch: Batch) -> Drawn:
    """What a batch asks of its logits float32 [L, vocab]: rows of the draws, then of the scores.

    The rows of draws are changed in place.
    """
    draws = batch.draws
    scores = score_prompts(logits[len(draws) :], batch.chunks)
    logits = logits[: len(draws)]
    told = [row for row, draw in enumerate(draws) if draw.sampling.logprobs is not None]
    if not told:
        return Drawn(draw_tokens(logits, draws), {}, scores)
    own = torch.log_softmax(logits[told], dim=-1)
    tokens = draw_tokens(logits, draws)
    tops = [draws[row].sampling.logprobs or 0 for row in told]
    values = tell(own, [tokens[row] for row in told], tops)
    return Drawn(tokens, dict(zip(told, values, strict=True)), scores)


def draw_tokens(logits: torch.Tensor, draws: Sequence[Draw]) -> list[int]:
    """One token id for each row: logits float32 [N, vocab], changed in place, one draw a row."""
    if not draws:
        return []
    transform(logits, draws)
    tokens = logits.argmax(dim=-1)
    drawn = [row for row, draw in enumerate(draws) if draw.sampling.temperature > 0]
    if drawn:
        tokens[drawn] = _draw(logits[drawn], [draws[row] for row in drawn])
    # On a GPU nothing but these ids comes back to the host.
    result: list[int] = tokens.tolist()
    return result


def _draw(logits: torch.Tensor, draws: list[Draw]) -> torch.Tensor:
    """Token ids int64 [N] of rows with a temperature."""
    device = logits.device
    temperatures = torch.tensor(
        [[d.sampling.temperature] for d in draws], dtype=torch.float32, device=device
    )
    # The largest logit is taken off first, so that a tiny temperature cannot overflow.
    peak = logits - logits.max(dim=-1, keepdim=True).values
    probabilities = torch.softmax(peak / temperatures, dim=-1)
    u = uniforms([d.sampling.seed for d in draws], [d.position for d in draws], Purpose.TOKEN)
    numbers = torch.from_numpy(u)[:, None].to(device)
    tokens = torch.empty(len(draws), dtype=torch.int64, device=device)
    cut = [row for row, draw in enumerate(draws) if draw.sampling.cuts]
    whole = [row for row, draw in enumerate(draws) if not draw.sampling.cuts]
    if whole:
        tokens[whole] = pick(probabilities[whole], numbers[whole])
    if cut:
        tokens[cut] = pick_cut(
            probabilities[cut], [draws[row].sampling for row in cut], numbers[cut]
        )
    return tokens
