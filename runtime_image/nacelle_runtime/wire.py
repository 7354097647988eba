"""The messages between the core and its frontends: msgpack frames over a local stream socket.

A frame is a 4-byte big-endian length and that many bytes. The core greets a connection with Ready
once it can serve; from then on it sends at most one Outputs a step to each connection.
"""

import struct
from typing import Final

import msgspec

from nacelle_runtime.request import Ending, Logprob, Sampling

MAX_FRAME: Final = 64 << 20
_LENGTH = struct.Struct(">I")


class Submit(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """A request; `number` is the frontend's own, `arrived` the machine's monotonic clock in s.

    `grammar` is what the answer must be (structured/grammar.py); who is `traced` is told Times.
    """

    number: int
    prompt: list[int]
    sampling: Sampling
    ending: Ending
    priority: int
    prompt_logprobs: int | None
    salt: str
    arrived: float
    grammar: str | None = None
    traced: bool = False


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Nobody waits for these requests any more."""

    numbers: list[int]


class AskStats(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A wish for Stats."""


class Times(msgspec.Struct, frozen=True, array_like=True):
    """When a request came, since when steps run it, when the step of this token ended.

    The machine's monotonic clock, in s.
    """

    arrived: float
    begun: float
    now: float


class Output(msgspec.Struct, frozen=True, array_like=True):
    """One token of a request's answer; finish is "stop", "length" or, while it goes on, None.

    The log-probabilities of the prompt, from its second token on, come with the first token; where
    the request is traced, times come with the first and the last.
    """

    number: int
    token: int
    finish: str | None
    logprob: Logprob | None = None
    prompt_logprobs: list[Logprob] | None = None
    times: Times | None = None


class Refused(msgspec.Struct, frozen=True, array_like=True):
    """A request that was not taken in; code is a RefusalCode."""

    number: int
    code: str
    message: str


class Ready(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """What the core serves: the bounds in force, the cache's tokens, its way to here in seconds,
    what loading the program took and how it speculates, both in words; and the probability that
    stands in for the acceptance of drafted tokens, where answers mean nothing.
    """

    engine_key: str
    input_len: int
    sequence_len: int
    vocabulary: int
    kv_tokens: int
    threads: int
    loading_seconds: float
    loaded: str
    speculation: str = "none"
    synthetic_acceptance: float | None = None


class Outputs(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """What one step gave this connection's requests."""

    outputs: list[Output]
    refused: list[Refused]


class Histogram(msgspec.Struct, frozen=True, array_like=True):
    """Counts of values up to each bound (not cumulated; the last is above all), and their sum."""

    bounds: list[float]
    counts: list[int]
    total: float


class Stats(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The core's figures at one moment; the counters go on from its start."""

    waiting: int
    running: int
    requests_max: int
    prefilling: int
    kv_blocks_total: int
    kv_blocks_used: int
    kv_blocks_idle: int
    prompt_tokens: int
    prefix_asked_tokens: int
    prefix_hit_tokens: int
    generated_tokens: int
    preemptions: int
    steps: int
    finished: dict[str, int]
    time_to_first_token: Histogram
    inter_token_latency: Histogram
    step_seconds: Histogram
    device_seconds: float
    device_idle_seconds: float
    drafted_tokens: int = 0
    accepted_tokens: int = 0


ToCore = Submit | Cancel | AskStats
FromCore = Ready | Outputs | Stats

_encoder = msgspec.msgpack.Encoder()
decode_to_core = msgspec.msgpack.Decoder(ToCore).decode
decode_from_core = msgspec.msgpack.Decoder(FromCore).decode


class BadFrame(Exception):
    """The other side does not speak this protocol."""


def frame(message: ToCore | FromCore) -> bytes:
    """A message as a frame."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


class FrameSplitter:
    """Cuts a byte stream into the bodies of its frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that have become whole; BadFrame when one would be larger than allowed."""
        self._buffer += data
        bodies: list[bytes] = []
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            if length > MAX_FRAME:
                raise BadFrame(f"a frame of {length} bytes; at most {MAX_FRAME}")
            end = start + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            bodies.append(bytes(self._buffer[start + _LENGTH.size : end]))
            start = end
        del self._buffer[:start]
        return bodies
