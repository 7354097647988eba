"""From token ids to text as they come, never giving half a character."""

from collections.abc import Callable

# U+FFFD: what a decoder gives for bytes that are not, or not yet, a character.
_REPLACEMENT = "\ufffd"
# A character has at most 4 bytes, each a token at worst; more pending tokens are simply not UTF-8.
_MOST_PENDING = 8


class Detokenizer:
    """The text of one answer, piece by piece; the pieces joined are the decoded whole.

    A token's text depends on those before it (a leading space, half a character), so a window is
    decoded twice: without and with the new tokens; the difference is what they add.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []
        # How many ids of the window have given their text already.
        self._given = 0

    def add(self, token: int) -> str:
        """The text that has become certain with one more token; often empty."""
        self._window.append(token)
        before = self._decode(self._window[: self._given])
        whole = self._decode(self._window)
        pending = len(self._window) - self._given
        if whole.endswith(_REPLACEMENT) and pending < _MOST_PENDING:
            return ""
        if len(whole) <= len(before):  # a token without text, e.g. a special one
            return ""
        self._window = self._window[self._given :]
        self._given = len(self._window)
        return whole[len(before) :]

    def rest(self) -> str:
        """What is left at the end, an unfinished character as U+FFFD."""
        before = self._decode(self._window[: self._given])
        text = self._decode(self._window)[len(before) :]
        self._window, self._given = [], 0
        return text
