"""Tactics of a GPU: the quickest kernel, the safe one without a GPU, and steps to time with."""

import pytest
from tiny_llama import SPEC

from nacelle_builder.compile.gpu.places import places
from nacelle_builder.compile.gpu.signature import signature_of
from nacelle_builder.compile.gpu.tactics import choose, decide
from nacelle_builder.compile.gpu.timed_step import timed_step
from nacelle_engine.errors import CompileFailed
from nacelle_engine.limits import Limits
from nacelle_engine.machine import first_gpu
from nacelle_engine.program.check import check_step
from nacelle_engine.recipe import Recipe

LIMITS = Limits(max_batch_size=6, max_input_len=200, max_seq_len=256, max_num_tokens=192)
RECIPE = Recipe(architecture="sm_90", limits=LIMITS)
PLACES = places(SPEC, RECIPE)[:2]


def test_the_quickest_candidate_is_chosen():
    names = [candidate.kernel.name for candidate in PLACES[1].candidates]
    times = {1: {names[0]: 9, names[-1]: 5}}
    chosen, tactics = decide(PLACES, times, "timed")
    assert [one.candidate.kernel.name for one in chosen] == [
        PLACES[0].candidates[0].kernel.name,
        names[-1],
    ]
    assert tactics.reason == "timed"
    assert tactics.places[1].nanoseconds == times[1]


def test_a_place_where_nothing_runs_is_named():
    with pytest.raises(CompileFailed, match=f"kernels for {PLACES[0].name} runs on this GPU"):
        decide(PLACES, {0: {}}, "timed")


@pytest.mark.skipif(first_gpu() is not None, reason="there is a GPU here")
def test_without_a_gpu_the_safe_candidates_are_taken():
    signature = signature_of(SPEC, RECIPE)
    chosen, tactics = choose(PLACES, signature, SPEC, RECIPE, lambda *_: None)
    assert [one.candidate for one in chosen] == [place.candidates[0] for place in PLACES]
    assert tactics.reason == "no sm_90 to time on: the safe candidate of every place"


@pytest.mark.parametrize(("size", "decode"), [(1, True), (6, True), (1, False), (192, False)])
def test_steps_to_time_with_are_such_as_a_program_takes(size, decode):
    signature = signature_of(SPEC, RECIPE)
    step = timed_step(size, signature, 1024, decode=decode)
    check_step(step, signature, 1 + 6 * 8)
    assert len(step.token_ids) == size
