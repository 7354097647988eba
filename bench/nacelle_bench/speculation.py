"""The speed of answers with drafted tokens and without, over the same questions in one run."""

import argparse
import contextlib
import socket
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from nacelle_bench.speculation_tasks import TASKS
from nacelle_bench.table import Table
from nacelle_engine.bundle import Bundle, check_target, read_bundle, verify_files
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.machine import this_machine
from nacelle_runtime.commands.speculation_flags import TOKENS, check_speculation
from nacelle_runtime.frontends.tokenizer import Tokenizer
from nacelle_runtime.loader import load
from nacelle_runtime.loop import Loop
from nacelle_runtime.machine import usable_processors
from nacelle_runtime.request import Ending, Request, Sampling
from nacelle_runtime.settings import CoreSettings
from nacelle_runtime.speculation.words import Method


@dataclass(frozen=True)
class _Found:
    """One run of a row: its answers' tokens, the seconds they took, and what was drafted."""

    answers: dict[int, list[int]]
    seconds: float
    drafted: int
    accepted: int

    @property
    def rate(self) -> float:
        """Tokens of all answers a second, prompts' time included."""
        return sum(map(len, self.answers.values())) / self.seconds


class _Side:
    """A core in this process, as `nacelle serve` opens one, with or without speculation."""

    def __init__(self, settings: CoreSettings) -> None:
        # Nobody connects; requests are handed to the scheduler.
        self._listener, other = socket.socketpair()
        other.close()
        self._loop: Loop = load(settings, self._listener, time.monotonic())

    def close(self) -> None:
        """Leave nothing open."""
        self._listener.close()

    @property
    def words(self) -> str:
        """What it does, for people."""
        return self._loop.ready.speculation

    def run(
        self, prompts: Sequence[list[int]], streams: int, sampling: Sampling, ending: Ending
    ) -> _Found:
        """Every prompt's answer, at most so many at once."""
        pipeline, scheduler = self._loop.pipeline, self._loop.scheduler
        speculation = scheduler.speculation
        drafted, accepted = 0, 0
        if speculation is not None:
            drafted, accepted = speculation.drafted, speculation.accepted
        waiting, running = list(enumerate(prompts)), 0
        answers: dict[int, list[int]] = {number: [] for number in range(len(prompts))}
        began = time.perf_counter()
        while waiting or running:
            while waiting and running < streams:
                number, prompt = waiting.pop(0)
                refusal = scheduler.submit(Request((0, number), prompt, sampling, ending))
                if refusal is not None:
                    raise InvalidRequest(f"question {number + 1}: {refusal.message}")
                running += 1
            ended = pipeline.advance()
            for item in ended.produced if ended is not None else ():
                answers[item.request[1]].append(item.token)
                running -= item.finish is not None
        seconds = time.perf_counter() - began
        # The next run is not to find these prompts.
        scheduler.pool.forget_idle()
        if speculation is None:
            return _Found(answers, seconds, 0, 0)
        return _Found(
            answers, seconds, speculation.drafted - drafted, speculation.accepted - accepted
        )


def bench_speculation(arguments: argparse.Namespace) -> Table:
    """A row for each kind of question and number of answers at once; medians of the rounds."""
    check_speculation(arguments)
    if Method(arguments.speculation) is Method.NONE:
        raise InvalidRequest("--speculation none: there is nothing to compare")
    bundle = _checked(arguments.bundle)
    if arguments.draft_engine is not None:
        _checked(arguments.draft_engine)
    prompts = _prompts(bundle, arguments.tokens)
    manifest = bundle.manifest
    ending = Ending(arguments.tokens, frozenset(manifest.eos_token_ids))
    sampling = Sampling(temperature=arguments.temperature)
    rows = []
    methods = (Method.NONE, Method(arguments.speculation))
    with contextlib.ExitStack() as opened:
        sides = [
            opened.enter_context(
                contextlib.closing(_Side(_settings(arguments, bundle, prompts, method)))
            )
            for method in methods
        ]
        words = sides[1].words
        for kind, questions in prompts.items():
            for streams in arguments.streams:
                rounds = [
                    [side.run(questions, streams, sampling, ending) for side in sides]
                    for _ in range(arguments.rounds)
                ]
                rows.append(_row(kind, streams, rounds))
    facts = {
        "kind": "speculation",
        "model": manifest.provenance.model_name,
        "engine": manifest.key[:16],
        "compute_type": manifest.quantization.compute_type.value,
        "threads": _threads(arguments),
        "speculation": words,
        "answer_tokens": arguments.tokens,
        "temperature": arguments.temperature,
        "rounds": arguments.rounds,
    }
    return Table(facts, rows, {"speedup": 2, "acceptance": 2})


def _row(kind: str, streams: int, rounds: Sequence[Sequence[_Found]]) -> dict[str, Any]:
    without = statistics.median(plain.rate for plain, _ in rounds)
    with_drafts = statistics.median(drafting.rate for _, drafting in rounds)
    drafted = sum(drafting.drafted for _, drafting in rounds)
    accepted = sum(drafting.accepted for _, drafting in rounds)
    return {
        "row": kind,
        "streams": streams,
        "tok_s_without": without,
        "tok_s_with": with_drafts,
        "speedup": with_drafts / without,
        "tokens": sum(map(len, rounds[0][1].answers.values())),
        "drafted": drafted / len(rounds),
        "accepted": accepted / len(rounds),
        "acceptance": accepted / max(drafted, 1),
        "same_answers": sum(
            plain.answers[number] == drafting.answers[number]
            for plain, drafting in rounds[:1]
            for number in plain.answers
        ),
    }


def _checked(folder: Path) -> Bundle:
    bundle = read_bundle(folder)
    check_target(bundle, this_machine())
    verify_files(bundle)
    return bundle


def _prompts(bundle: Bundle, tokens: int) -> dict[str, list[list[int]]]:
    """The tasks' token ids, by kind; a model without a chat template gets the bare questions."""
    tokenizer, limits = Tokenizer(bundle.tokenizer), bundle.manifest.limits
    template = tokenizer.chat_template
    found: dict[str, list[list[int]]] = {}
    for kind, questions in TASKS.items():
        found[kind] = [
            tokenizer.encode(question, special=True)
            if template is None
            else tokenizer.encode(
                template.render([{"role": "user", "content": question}]), special=False
            )
            for question in questions
        ]
    longest = max(len(prompt) for prompts in found.values() for prompt in prompts)
    if longest > limits.max_input_len or longest + tokens > limits.max_seq_len:
        raise InvalidRequest(
            f"--tokens {tokens}: the questions have up to {longest} tokens; the engine takes "
            f"{limits.max_input_len}, and {limits.max_seq_len} with the answer"
        )
    return found


def _settings(
    arguments: argparse.Namespace,
    bundle: Bundle,
    prompts: dict[str, list[list[int]]],
    method: Method,
) -> CoreSettings:
    most, size = max(arguments.streams), bundle.manifest.tokens_per_block
    longest = max(len(prompt) for some in prompts.values() for prompt in some) + arguments.tokens
    common = CoreSettings(
        bundle=str(arguments.bundle),
        threads=_threads(arguments),
        max_batch_size=most,
        kv_cache_blocks=most * (-(-longest // size)) + 1,
        prefix_caching=False,
        queue_limit=most,
    )
    if method is Method.NONE:
        return common
    return replace(
        common,
        speculation=method.value,
        speculative_tokens=arguments.speculative_tokens or TOKENS,
        draft_engine=str(arguments.draft_engine) if arguments.draft_engine else None,
        synthetic_acceptance=arguments.synthetic_acceptance,
    )


def _threads(arguments: argparse.Namespace) -> int:
    threads: int = arguments.threads or usable_processors()
    return threads
