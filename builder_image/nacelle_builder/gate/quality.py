"""Quality: the engine against the original model in float32, teacher-forced on the built-in text.

KL(reference || engine) = sum_v p_ref(v) (log p_ref(v) - log p_engine(v)), natural logarithm, one
number a position; top-1 agreement over positions whose two best reference logits are more than
0.5 apart; perplexity = exp(mean negative log likelihood of the text's next token).
"""

import math
from decimal import Decimal
from typing import Final

import torch

from nacelle_engine.errors import AccuracyFailed
from nacelle_engine.request import AccuracyBounds
from nacelle_engine.result import Accuracy

CLEAR_MARGIN: Final = 0.5
_SPELLED_OUT: Final = 1e9


class Meter:
    """Gathers the figures position by position; nothing of the logits is kept."""

    def __init__(self) -> None:
        self._divergences: list[torch.Tensor] = []
        self._agreed = 0
        self._clear = 0
        self._reference_loss = 0.0
        self._engine_loss = 0.0

    def add(self, reference: torch.Tensor, engine: torch.Tensor, targets: torch.Tensor) -> None:
        """Logits float32 [positions, vocab] of both, and the text's next tokens [positions]."""
        ours, theirs = engine.log_softmax(-1), reference.log_softmax(-1)
        self._divergences.append((theirs.exp() * (theirs - ours)).sum(-1).clamp_min(0))
        best = theirs.topk(2).values
        clear = best[:, 0] - best[:, 1] > CLEAR_MARGIN
        self._clear += int(clear.sum())
        self._agreed += int((clear & (ours.argmax(-1) == theirs.argmax(-1))).sum())
        self._reference_loss -= float(theirs.gather(1, targets[:, None]).double().sum())
        self._engine_loss -= float(ours.gather(1, targets[:, None]).double().sum())

    def accuracy(self) -> Accuracy:
        """The figures so far as decimal strings."""
        divergences = torch.cat(self._divergences)
        positions = len(divergences)
        more = (self._engine_loss - self._reference_loss) / positions
        return Accuracy(
            mean_kl_divergence=f"{float(divergences.mean()):.6f}",
            p99_kl_divergence=f"{float(divergences.quantile(0.99)):.6f}",
            top_one_agreement_percent=f"{100 * self._agreed / max(self._clear, 1):.2f}",
            perplexity_increase_percent=_increase(more),
            positions=positions,
        )


def _increase(nats: float) -> str:
    """The perplexity's growth in percent by a loss that grew by `nats`; of any size, in 32 letters:
    an engine that is wrong must be told so."""
    try:
        percent = 100 * math.expm1(nats)
    except OverflowError:
        percent = math.inf
    return f"{percent:.3f}" if percent < _SPELLED_OUT else f"{percent:.3e}"


def violations(accuracy: Accuracy, bounds: AccuracyBounds) -> list[str]:
    """One sentence for each bound that the figures break; a figure that is no number breaks it."""
    checks = (
        (
            "mean KL divergence",
            "maxKLDivergence",
            accuracy.mean_kl_divergence,
            "above",
            bounds.max_kl_divergence,
        ),
        (
            "top-1 agreement percent",
            "minTopOneAgreementPercent",
            accuracy.top_one_agreement_percent,
            "below",
            str(bounds.min_top_one_agreement_percent),
        ),
        (
            "perplexity increase percent",
            "maxPerplexityIncreasePercent",
            accuracy.perplexity_increase_percent,
            "above",
            str(bounds.max_perplexity_increase_percent),
        ),
    )
    return [
        f"{figure} {value} is {side} accuracy.{field} {bound}"
        for figure, field, value, side, bound in checks
        if not _holds(Decimal(value), side, Decimal(bound))
    ]


def judge(accuracy: Accuracy, bounds: AccuracyBounds) -> list[str]:
    """The broken bounds when the user publishes anyway; AccuracyFailed when not."""
    broken = violations(accuracy, bounds)
    if broken and bounds.on_failure == "Fail":
        raise AccuracyFailed("; ".join(broken))
    return broken


def _holds(value: Decimal, side: str, bound: Decimal) -> bool:
    if value.is_nan():
        return False
    return value <= bound if side == "above" else value >= bound
