"""A build's bounds on quality, judged on an engine's stored figures."""

from decimal import Decimal, InvalidOperation

from nacelle_engine.request import AccuracyBounds
from nacelle_engine.result import Accuracy


def broken_bounds(measured: Accuracy, bounds: AccuracyBounds) -> tuple[str, ...]:
    """Which of a build's bounds the stored figures break, as sentences; one that is no number
    breaks its own.
    """
    pairs = (
        (
            "mean KL divergence",
            _is_at_most(measured.mean_kl_divergence, bounds.max_kl_divergence),
            f"{measured.mean_kl_divergence}, maxKLDivergence is {bounds.max_kl_divergence}",
        ),
        (
            "top-1 agreement",
            _is_at_most(bounds.min_top_one_agreement_percent, measured.top_one_agreement_percent),
            f"{measured.top_one_agreement_percent} %, minTopOneAgreementPercent is "
            f"{bounds.min_top_one_agreement_percent}",
        ),
        (
            "perplexity increase",
            _is_at_most(
                measured.perplexity_increase_percent, bounds.max_perplexity_increase_percent
            ),
            f"{measured.perplexity_increase_percent} %, maxPerplexityIncreasePercent is "
            f"{bounds.max_perplexity_increase_percent}",
        ),
    )
    return tuple(f"{name} is {text}" for name, holds, text in pairs if not holds)


def _is_at_most(less: str | int, more: str | int) -> bool:
    try:
        return Decimal(less) <= Decimal(more)
    except InvalidOperation:
        return False  # NaN, too, compares with nothing
