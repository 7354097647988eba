"""What the runtime's metrics have counted of requests, summed over pods."""

from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class Tally:
    """Requests that ended (those that clients cancelled left out), of these refused; first tokens
    drawn, and the milliseconds that requests waited for them, all together.
    """

    ended: int = 0
    refused: int = 0
    first_tokens: int = 0
    milliseconds: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def since(self, before: "Tally") -> "Tally":
        """What has come since; counts that have begun anew, as a restarted pod's, are all new."""
        pairs = list(zip(astuple(self), astuple(before), strict=True))
        if any(now < then for now, then in pairs):
            return self
        return Tally(*(now - then for now, then in pairs))
