"""Thousands of requests through a float32 engine's tiny caches: each answers as it does alone.

`pytest --walk-requests 10000 -s tests/nacelle_runtime/test_long_walk.py` tells of the whole walk;
with `--walk-bundle DIR` it goes over a BatchInvariant bundle for this machine, as on a GPU.
"""

import functools
import itertools
import random
import time
from dataclasses import dataclass

import families
import pytest
from float32_engine import EOS, Core, kernels, library_of, opened, program

from nacelle_engine.bundle import check_target, read_bundle, verify_files
from nacelle_engine.machine import this_machine
from nacelle_engine.precision import Determinism
from nacelle_engine.program.program import Program, open_program
from nacelle_runtime.frontends.answer_text import AnswerText
from nacelle_runtime.request import Ending, Request, Sampling
from nacelle_runtime.scheduler.bounds import Policy
from nacelle_runtime.wire import Output

__all__ = ["kernels", "library_of", "opened", "program"]
pytestmark = pytest.mark.slow
# Answers' tokens: the long ones grow by more blocks than one, so that others are put back for them.
SHORT, LONG = range(1, 21), range(40, 81)
# What requests ask, told apart by prompt, sampling and ends: a lone run each is enough.
CASES = 120
KINDS = (
    {"temperature": 0},
    {"temperature": 0, "repetition_penalty": 1.3, "frequency_penalty": 0.4},
    {"temperature": 1.2, "top_k": 20, "top_p": 0.9},
    {"temperature": 1.5, "min_p": 0.05, "logprobs": 2},
    {"temperature": 0.8, "bad_words": ((5, 6), (7,))},
)


def text_of(ids):
    """A letter for each id: stop strings of several tokens are strings of several letters."""
    return "".join(chr(0x4E00 + one) for one in ids)


@dataclass(frozen=True)
class Engine:
    """What is walked over; `ends` are the ids that end its answers."""

    program: Program
    vocabulary: int
    ends: frozenset[int]


@functools.cache
def engine_of(folder):
    """A bundle's, opened as a server would open it."""
    bundle = read_bundle(folder)
    check_target(bundle, this_machine())
    verify_files(bundle)
    manifest = bundle.manifest
    assert manifest.determinism == Determinism.BATCH_INVARIANT, "only such an engine promises it"
    ends = frozenset(manifest.eos_token_ids)
    return Engine(open_program(bundle.rank()), manifest.vocab_size, ends)


@pytest.fixture
def engine(request):
    """The tiny float32 one, or that of --walk-bundle."""
    folder = request.config.getoption("--walk-bundle")
    if folder is not None:
        return engine_of(folder)
    return Engine(request.getfixturevalue("program"), families.VOCAB, frozenset({EOS}))


class Case:
    """One kind of request; `alone` are the tokens and log-probabilities of its lone run."""

    def __init__(self, walk, stems, engine):
        def ids(count):
            return [walk.randrange(3, engine.vocabulary) for _ in range(count)]

        self.prompt = walk.choice(stems)[: walk.randrange(1, 100)] + ids(walk.randrange(9))
        self.sampling = Sampling(**walk.choice(KINDS), seed=walk.randrange(1 << 30))
        self.stop_ids = engine.ends | frozenset(ids(walk.choice((0, 0, 4))))
        self.min_tokens = walk.choice((0, 0, 2))
        self.salt = walk.choice(("", "", "tenant"))
        self.tokens = walk.choice((SHORT, SHORT, SHORT, LONG))
        self.alone = []
        self.stops = ()

    def request(self, number, tokens, priority=0):
        ending = Ending(tokens, self.stop_ids, min(self.min_tokens, tokens))
        name = (0, number)
        return Request(name, self.prompt, self.sampling, ending, self.salt, priority=priority)

    def run_alone(self, core, walk):
        core.scheduler.submit(self.request(0, self.tokens[-1]))
        core.finish()
        self.alone = core.answers.pop(0)
        if len(self.alone) > 3 and walk.random() < 0.3:
            at = walk.randrange(1, len(self.alone) - 1)
            self.stops = (text_of(token for token, _ in self.alone[at : at + 2]),)


class Asked:
    """A request on its way, and its text as a frontend makes it."""

    def __init__(self, case, tokens):
        self.case, self.tokens = case, tokens
        self.text = AnswerText(text_of, case.stops)
        self.shown = ""

    def add(self, place, token, finish):
        """The reason of the answer's end, as its client sees it."""
        piece = self.text.add([Output(place, token, finish)])
        self.shown += piece.text
        return piece.finish

    def expected(self):
        """What the lone run's tokens come to under this request's bounds: tokens, text, reason."""
        other, tokens = Asked(self.case, self.tokens), self.case.alone[: self.tokens]
        for count, (token, _) in enumerate(tokens, 1):
            core = "length" if count == self.tokens else None
            if token in self.case.stop_ids and count > self.case.min_tokens:
                core = "stop"
            finish = other.add(0, token, core)
            if finish:
                return tokens[:count], other.shown, finish
        raise AssertionError("a lone run has no end")


class Walk:
    """Arrivals in bursts, clients that leave or stop reading at a stop word, one step at a time."""

    def __init__(self, core, cases, seed):
        self.core, self.cases, self.random = core, cases, random.Random(seed)
        self.alive, self.numbers = {}, itertools.count()
        self.finished = self.left = self.refused = self.stopped = 0

    def arrive(self):
        number, walk = next(self.numbers), self.random
        case = walk.choice(self.cases)
        asked = Asked(case, walk.choice(case.tokens))
        request = asked.case.request(number, asked.tokens, walk.choice((0, 0, 0, 1, -1)))
        if self.core.scheduler.submit(request) is None:
            self.alive[number] = asked
        else:
            self.refused += 1
        self.core.scheduler.check()

    def leave(self):
        self.cancel(self.random.choice(list(self.alive)))
        self.left += 1

    def cancel(self, number):
        del self.alive[number]
        assert self.core.scheduler.cancel([(0, number)]) == 1
        self.core.answers.pop(number, None)
        self.core.scheduler.check()

    def step(self):
        ended = self.core.step()
        for item in ended.produced if ended else ():
            number = item.request[1]
            asked = self.alive.get(number)
            if asked is None:
                continue  # cut by its stop word amid this step's tokens
            finish = asked.add(item.position, item.token, item.finish)
            if finish is None:
                continue
            answer = self.core.answers[number]
            expected = asked.expected()
            assert (answer[: item.position + 1], asked.shown, finish) == expected
            if item.finish is None:
                self.cancel(number)
                self.stopped += 1
            else:
                del self.alive[number], self.core.answers[number]
            self.finished += 1

    def run(self, requests):
        walk = self.random
        for _ in range(requests):
            self.arrive()
            if walk.random() < 0.06 and self.alive:
                self.leave()
            # Bursts beyond what may wait, and stretches in which the engine catches up.
            most = walk.choice((4, 30, 30, 50, 50))
            while len(self.alive) > most or (self.alive and walk.random() < 0.6):
                self.step()
        while self.alive:
            self.step()
        self.core.finish()


@pytest.fixture(scope="module")
def remembered():
    """Cases and their answers, from one walk to the next."""
    return []


@pytest.fixture
def cases(remembered, engine):
    """Cases whose answers alone are known."""
    if not remembered:
        walk = random.Random(11)
        stems = [[walk.randrange(3, engine.vocabulary) for _ in range(100)] for _ in range(3)]
        remembered += [Case(walk, stems, engine) for _ in range(CASES)]
        core = core_over(engine, caching=False, tokens=256, prefill_tokens=256)
        for case in remembered:
            case.run_alone(core, walk)
    return remembered


def core_over(engine, **settings):
    return Core(engine.program, 9, vocabulary=engine.vocabulary, **settings)


@pytest.mark.parametrize(
    ("policy", "caching", "chunked", "depth"),
    [
        (Policy.MAX_UTILIZATION, True, True, 2),
        (Policy.MAX_UTILIZATION, False, False, 1),
        (Policy.GUARANTEED_NO_EVICT, True, True, 1),
        (Policy.GUARANTEED_NO_EVICT, True, False, 2),
    ],
)
def test_each_of_thousands_answers_as_alone(
    engine, cases, request, policy, caching, chunked, depth
):
    count = request.config.getoption("--walk-requests") // 4
    bounds = {"policy": policy, "chunked": chunked, "sequence_len": 190, "tokens": 130}
    core = core_over(engine, caching=caching, depth=depth, queue=30, **bounds)
    one, began = Walk(core, cases, seed=depth), time.process_time()
    one.run(count)
    assert one.finished + one.left + one.refused == count
    assert one.finished > count * 0.75
    assert one.stopped > count / 100
    assert one.left > count / 200
    scheduler = core.scheduler
    assert scheduler.idle
    assert (scheduler.preemptions > count / 100) == (policy is Policy.MAX_UTILIZATION)
    assert (scheduler.hit_tokens > scheduler.asked_tokens / 20) == caching
    print(
        f"\n{policy.value}, prefixes {caching}, chunks {chunked}, depth {depth}: {count} requests, "
        f"{one.finished} finished ({one.stopped} by a stop word), {one.left} left, "
        f"{one.refused} refused, {scheduler.preemptions} put back, "
        f"{scheduler.hit_tokens} of {scheduler.asked_tokens} prompt tokens found, "
        f"{time.process_time() - began:.0f} s of CPU"
    )
