"""The requests of the two models, field by field: each works or is refused by name."""

import math
import sys
from typing import Annotated, Any, TypeVar

import msgspec

from nacelle_runtime.frontends.triton.contract import NOT_BUILT
from nacelle_runtime.frontends.triton.errors import Code, NotAnswered

Count = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Natural = Annotated[int, msgspec.Meta(ge=0)]
Bias = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
# What clients send for "no such words", because a tensor must hold something.
_NOTHING = ""


class _Common(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fields of both models; `pad_id` changes no answer, for nothing is ever padded.

    end_id -1 is the model's own; seed and random_seed, min_tokens and min_length are the newer and
    the older name of the same.
    """

    temperature: Annotated[float, msgspec.Meta(ge=0)] | None = None
    min_p: Share = 0.0
    repetition_penalty: Annotated[float, msgspec.Meta(ge=0.01, le=10)] = 1.0
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    min_tokens: Natural | None = None
    min_length: Natural | None = None
    seed: Natural | None = None
    random_seed: Natural | None = None
    end_id: Annotated[int, msgspec.Meta(ge=-1)] = -1
    pad_id: int = 0
    priority: Annotated[int, msgspec.Meta(ge=-1000, le=1000)] = 0
    return_log_probs: bool = False
    exclude_input_in_output: bool | None = None


class TextRequest(_Common, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """tensorrt_llm_bls and ensemble."""

    text_input: str
    max_tokens: Count
    stream: bool = False
    top_k: Natural = 0
    top_p: Share = 0.0
    stop_words: list[Annotated[str, msgspec.Meta(max_length=1024)]] = []
    bad_words: list[Annotated[str, msgspec.Meta(max_length=1024)]] = []
    embedding_bias_words: list[str] = []
    embedding_bias_weights: list[Bias] = []

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop words, empty ones left out."""
        return tuple(word for word in self.stop_words if word != _NOTHING)

    @property
    def banned(self) -> tuple[str, ...]:
        """The bad words, empty ones left out."""
        return tuple(word for word in self.bad_words if word != _NOTHING)

    @property
    def biases(self) -> tuple[tuple[str, float], ...]:
        """Words and what is added to their tokens' logits."""
        words, weights = self.embedding_bias_words, self.embedding_bias_weights
        if len(words) != len(weights):
            raise NotAnswered(
                Code.INVALID_ARG,
                f"embedding_bias_words has {len(words)} words, embedding_bias_weights "
                f"{len(weights)} values: give one for each",
            )
        return tuple((w, b) for w, b in zip(words, weights, strict=True) if w != _NOTHING)


class TokenRequest(
    _Common,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    rename={
        "max_tokens": "request_output_len",
        "stream": "streaming",
        "top_k": "runtime_top_k",
        "top_p": "runtime_top_p",
    },
):
    """tensorrt_llm; a word list is its ids in one row, and where each word ends in another."""

    input_ids: list[int]
    input_lengths: int
    max_tokens: Count
    stream: bool = False
    top_k: Natural = 0
    top_p: Share = 0.0
    stop: bool = False
    stop_words_list: list[int] = []
    bad_words_list: list[int] = []
    embedding_bias: list[Bias] = []

    @property
    def prompt(self) -> list[int]:
        """The prompt without what was added to fill the tensor."""
        if not 0 < self.input_lengths <= len(self.input_ids):
            raise NotAnswered(
                Code.INVALID_ARG,
                f"input_lengths is {self.input_lengths}, input_ids holds {len(self.input_ids)}",
            )
        return self.input_ids[: self.input_lengths]

    @property
    def stops(self) -> tuple[tuple[int, ...], ...]:
        """The stop words' ids, each of which answers can look for as a character."""
        words = _words(self.stop_words_list, "stop_words_list")
        if not all(0 <= token <= sys.maxunicode for word in words for token in word):
            raise NotAnswered(
                Code.INVALID_ARG, f"stop_words_list: token ids must lie in 0 to {sys.maxunicode}"
            )
        return words

    @property
    def banned(self) -> tuple[tuple[int, ...], ...]:
        """The bad words' ids."""
        return _words(self.bad_words_list, "bad_words_list")


AnyRequest = TypeVar("AnyRequest", TextRequest, TokenRequest)


def parse(fields: dict[str, Any], kind: type[AnyRequest]) -> AnyRequest:
    """The request in a Triton request's inputs; NotAnswered names the one that is wrong."""
    for name in NOT_BUILT.keys() & fields.keys():
        given = fields.pop(name)
        if given not in NOT_BUILT[name]:
            raise NotAnswered(Code.UNSUPPORTED, f"{name} {given} is not supported: leave it out")
    for name, value in fields.items():
        values = value if isinstance(value, list) else [value]
        if any(isinstance(v, float) and not math.isfinite(v) for v in values):
            raise NotAnswered(Code.INVALID_ARG, f"{name} must be finite")
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise NotAnswered(Code.INVALID_ARG, str(error).replace("$.", "")) from error


def one_of(first: tuple[str, int | None], second: tuple[str, int | None]) -> int | None:
    """The value of two names for the same; NotAnswered when they differ."""
    (name, a), (other, b) = first, second
    if a is not None and b is not None and a != b:
        raise NotAnswered(Code.INVALID_ARG, f"{name} and {other} say the same: give one")
    return b if a is None else a


def _words(flat: list[int], name: str) -> tuple[tuple[int, ...], ...]:
    """Word lists in TensorRT-LLM's form: ids, then the words' ends; -1 ends the ends early."""
    ids, ends = flat[: len(flat) // 2], flat[len(flat) // 2 :]
    words, begin = [], 0
    for end in ends:
        if end == -1:
            break
        if not begin < end <= len(ids):
            raise NotAnswered(
                Code.INVALID_ARG, f"{name}: its second row must rise, to at most {len(ids)}"
            )
        words.append(tuple(ids[begin:end]))
        begin = end
    return tuple(words)
