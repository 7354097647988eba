"""How a run of `nacelle bench engine` is made."""

from dataclasses import dataclass
from typing import Self

from nacelle_engine.errors import InvalidRequest
from nacelle_engine.limits import Limits


def _pair(text: str) -> tuple[int, int]:
    """Two whole numbers with a comma between; (0, 0) for anything else."""
    one, comma, other = text.partition(",")
    both = comma and one.isdecimal() and other.isdecimal()
    return (int(one), int(other)) if both else (0, 0)


@dataclass(frozen=True)
class Prompts:
    """A row of prefill: so many prompts of so many tokens, and one token out of each."""

    number: int
    length: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """ "256,2048": 256 prompts of 2,048 tokens; InvalidRequest for anything else."""
        number, length = _pair(text)
        if not number * length:
            raise InvalidRequest(
                f"--prefill {text} must be prompts and tokens of each, such as 256,2048"
            )
        return cls(number, length)

    def check(self, limits: Limits) -> None:
        """Refuse prompts that the engine does not take in one step."""
        most = min(limits.max_input_len, limits.max_num_tokens)
        if self.length > most:
            raise InvalidRequest(
                f"--prefill {self.number},{self.length}: the engine takes prompts of at most "
                f"{most} tokens in a step"
            )


@dataclass(frozen=True)
class Mixed:
    """A row of a mixed step: so many requests that decode, and tokens of a prompt beside them."""

    decodes: int
    tokens: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """ "8,120": 8 requests' tokens and 120 of a prompt; InvalidRequest for anything else."""
        decodes, tokens = _pair(text)
        if tokens < 2:
            raise InvalidRequest(
                f"--mixed {text} must be decoding requests and a prompt's tokens, such as 8,120"
            )
        return cls(decodes, tokens)

    def check(self, limits: Limits) -> None:
        """Refuse a step that the engine does not take."""
        most = min(limits.max_input_len, limits.max_num_tokens - self.decodes)
        if self.tokens > most or self.decodes >= limits.max_batch_size:
            raise InvalidRequest(
                f"--mixed {self.decodes},{self.tokens}: the engine takes at most "
                f"{limits.max_batch_size} requests and {limits.max_num_tokens} tokens in a step, "
                f"prompts of at most {limits.max_input_len}"
            )


@dataclass(frozen=True)
class Ceilings:
    """A GPU's memory bandwidth and matrix rate; None is measured in the run."""

    read_gb_s: float | None = None
    matrix_tflop_s: float | None = None

    def __post_init__(self) -> None:
        for name, value in (
            ("--read-gb-s", self.read_gb_s),
            ("--matrix-tflops", self.matrix_tflop_s),
        ):
            if value is not None and not 0 < value < 1e9:
                raise InvalidRequest(f"{name} {value:g} must be above 0")


@dataclass(frozen=True)
class Settings:
    """How a run is made; `threads` None means all of torch's."""

    threads: int | None = None
    prompt: int = 32
    tokens: int = 64
    streams: int = 8
    rounds: int = 5
    prefill: tuple[Prompts, ...] = ()
    mixed: tuple[Mixed, ...] = ()
    start: bool = False
    ceilings: Ceilings = Ceilings()

    def check(self, limits: Limits) -> None:
        """Refuse what cannot be measured, and what the engine's limits do not hold."""
        for name, value, least in (
            ("--prompt", self.prompt, 1),
            ("--tokens", self.tokens, 2),
            ("--streams", self.streams, 1),
            ("--rounds", self.rounds, 1),
        ):
            if value < least:
                raise InvalidRequest(f"{name} {value} must be at least {least}")
        most = min(limits.max_input_len, limits.max_num_tokens)
        if self.prompt > most:
            raise InvalidRequest(f"--prompt {self.prompt}: the engine takes at most {most} tokens")
        if self.prompt + self.tokens > limits.max_seq_len:
            raise InvalidRequest(
                f"--prompt {self.prompt} and --tokens {self.tokens} are together above the "
                f"engine's maxSeqLen {limits.max_seq_len}"
            )
        for prompts in self.prefill:
            prompts.check(limits)
        for mixed in self.mixed:
            mixed.check(limits)
