"""Ends a text at the first stop string, and never shows a part of one."""

from collections.abc import Sequence


class StopStrings:
    """Watches one answer; what could still become a stop string is held back.

    `after` is what came with the stop string, behind it.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.found = False
        self.after = ""

    def add(self, text: str) -> str:
        """The text that may be shown now; `found` says that a stop string ended it."""
        if not self._stops:
            return text
        self._held += text
        # The one complete first, however the tokens happen to cut the text; of two, the longer.
        found = [(at + len(s), at) for s in self._stops if (at := self._held.find(s)) >= 0]
        if found:
            self.found = True
            end, at = min(found)
            shown, self.after, self._held = self._held[:at], self._held[end:], ""
            return shown
        keep = max(self._overlap(stop) for stop in self._stops)
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def rest(self) -> str:
        """What was held back, now that nothing follows."""
        shown, self._held = self._held, ""
        return shown

    def _overlap(self, stop: str) -> int:
        """The length of the longest end of the held text that begins a stop string."""
        longest = min(len(stop) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0)
