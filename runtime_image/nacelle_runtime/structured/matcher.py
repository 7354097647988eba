"""Where an answer stands in its grammar, as the scheduler and the sampler see it."""

from typing import Protocol


class Matcher(Protocol):
    """The state of one answer; it lives as long as the request, put back or not."""

    @property
    def failed(self) -> bool:
        """True when the grammar took more than its limits: the answer is cut here."""
        ...

    def advance(self, token: int) -> None:
        """The answer goes on by this token."""
        ...

    def allowed(self) -> bytes:
        """One bit an id, the lowest first, in ceil(vocabulary / 32) words of 4 bytes.

        An id that ends the answer is allowed only where the grammar accepts what there is.
        """
        ...
