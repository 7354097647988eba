"""Grammars made ready for a model's vocabulary, beside the loop that runs steps."""

from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from llguidance import LLMatcher, LLTokenizer
from tokenizers import Tokenizer

from nacelle_runtime.structured.grammar import LIMITS, GrammarRefused

# What tokenizers spell in ways of their own: spaces, ends of lines.
_TEXT = '{"name": "a b"}\n\t1'
# Compiled grammars that are kept: about a megabyte each for a large vocabulary.
_KEPT = 64


class Answering:
    """A matcher over the library's; `ends` are the ids that end an answer."""

    def __init__(self, library: LLMatcher, ends: tuple[int, ...], vocabulary: int) -> None:
        self._library = library
        self._ends = ends
        self._size = (vocabulary + 31) // 32 * 4

    @property
    def failed(self) -> bool:
        """True when the grammar took more than its limits."""
        return self._library.is_error()

    def advance(self, token: int) -> None:
        """The answer goes on by this token, which the mask before allowed."""
        if token not in self._ends:
            self._library.consume_token(token)

    def allowed(self) -> bytes:
        """The bits of the ids that may come next; those that end, where the grammar accepts."""
        library = self._library
        stopped = library.is_stopped()
        # The library's bits have a word more where the vocabulary fills its last one.
        bits = bytearray(self._size if stopped else library.compute_bitmask()[: self._size])
        # Within its limits or not, a step needs an id: a failed grammar's answer is cut by it.
        ends = stopped or library.is_error() or library.is_accepting()
        for token in self._ends:
            _put(bits, token, ends)
        return bytes(bits)


class Compiler:
    """A model's vocabulary and its grammars; the vocabulary is read when it is first needed.

    folder: the bundle's tokenizer; ends: the ids that end an answer, the first one first.
    """

    def __init__(self, folder: Path, vocabulary: int, ends: tuple[int, ...]) -> None:
        self._file = folder / "tokenizer.json"
        self._vocabulary = vocabulary
        self._ends = ends
        self._tokenizer: LLTokenizer | None = None
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()
        # One thread: steps keep the machine's other processors.
        self._thread = ThreadPoolExecutor(1, "grammar")

    def matcher(self, grammar: str) -> "Future[Answering]":
        """A new answer's matcher; GrammarRefused in the future where there can be none.

        It is there at once where the grammar was compiled before.
        """
        found = self._compiled.get(grammar)
        if found is None:
            return self._thread.submit(self._compile, grammar)
        done: Future[Answering] = Future()
        done.set_result(self._answering(found))
        return done

    def _compile(self, grammar: str) -> Answering:
        """In the thread: the grammar over the vocabulary; the oldest of too many is forgotten."""
        if self._tokenizer is None:
            self._tokenizer = self._read()
        found = LLMatcher(self._tokenizer, grammar, log_level=0, limits=LIMITS)
        if not found.is_error():
            found.deep_copy().compute_bitmask()
        if found.is_error():
            raise GrammarRefused(found.get_error().splitlines()[0])
        self._compiled[grammar] = found
        if len(self._compiled) > _KEPT:
            self._compiled.popitem(last=False)
        return self._answering(found)

    def _read(self) -> LLTokenizer:
        if not self._ends:
            raise GrammarRefused("the model has no id that ends an answer")
        try:
            read = LLTokenizer(str(self._file), n_vocab=self._vocabulary, eos_token=self._ends[0])
        except (ValueError, OSError, RuntimeError) as error:
            raise GrammarRefused(f"the model's tokenizer cannot be used for it: {error}") from error
        tokenizer = Tokenizer.from_file(str(self._file))
        ids = tokenizer.encode(_TEXT, add_special_tokens=False).ids
        # It guesses from the decoder how tokens are spelled, and its masks would follow the guess.
        # A space that a tokenizer puts before a text is taken away by its decoder alone.
        if read.decode_str(ids).lstrip() != tokenizer.decode(ids).lstrip():
            raise GrammarRefused(
                "no grammar can be kept to, for the decoder in the model's tokenizer.json does not "
                "say how its tokens are spelled: save the tokenizer anew with a current "
                "transformers, and build again"
            )
        return read

    def _answering(self, found: LLMatcher) -> Answering:
        return Answering(found.deep_copy(), self._ends, self._vocabulary)


def _put(bits: bytearray, token: int, value: bool) -> None:
    place = 1 << (token % 8)
    bits[token // 8] = bits[token // 8] | place if value else bits[token // 8] & ~place
