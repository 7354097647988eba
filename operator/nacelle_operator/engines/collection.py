"""When an engine that nobody uses any more is deleted: after a time of grace, or never but told."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from nacelle_operator.api.engine import Engine
from nacelle_operator.conditions import UNUSED, Verdict, find
from nacelle_operator.engines import reasons


@dataclass(frozen=True)
class Collection:
    """How long such an engine is kept, and whether it is only told that it would go."""

    grace: timedelta
    is_dry_run: bool = False

    def left(self, engine: Engine, now: datetime) -> timedelta:
        """How long it is still kept; not above zero when it is due."""
        unused = find(engine.status.conditions, UNUSED)
        since = now
        if unused:
            since = datetime.fromisoformat(unused.last_transition_time.replace("Z", "+00:00"))
        return since + self.grace - now

    def verdict(self) -> Verdict:
        """The condition of an engine that is kept for now."""
        seconds = int(self.grace.total_seconds())
        if self.is_dry_run:
            said = f"would be deleted after {seconds} s, but the operator only tells (dry run)"
            return Verdict(UNUSED, "True", reasons.WOULD_BE_SWEPT, f"nobody uses it: it {said}")
        return Verdict(
            UNUSED,
            "True",
            reasons.KEPT_FOR_NOW,
            f"nobody uses it, and its build is gone: after {seconds} s it is deleted with its "
            "folder; a build that asks for it or a deployment that serves it keeps it",
        )


DEFAULT: Final = Collection(timedelta(minutes=10))
