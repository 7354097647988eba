"""Tactics of a GPU: the quickest kernel, the safe one without a GPU, and steps to time with."""

import sys
import threading
import types

import pytest
from tiny_llama import SPEC

from nacelle_builder.compile.gpu import tactics
from nacelle_builder.compile.gpu.attention import attention_shape
from nacelle_builder.compile.gpu.cubins import Cubins
from nacelle_builder.compile.gpu.flashinfer_library import attention_library
from nacelle_builder.compile.gpu.place import libraries_of
from nacelle_builder.compile.gpu.places import places
from nacelle_builder.compile.gpu.signature import signature_of
from nacelle_builder.compile.gpu.tactics import choose, decide
from nacelle_builder.compile.gpu.timed_step import timed_step
from nacelle_engine.errors import CompileFailed
from nacelle_engine.limits import Limits
from nacelle_engine.machine import Gpu, first_gpu
from nacelle_engine.program.check import check_step
from nacelle_engine.recipe import Recipe

LIMITS = Limits(max_batch_size=6, max_input_len=200, max_seq_len=256, max_num_tokens=192)
RECIPE = Recipe(architecture="sm_90", limits=LIMITS)
PLACES = places(SPEC, RECIPE)[:2]


def test_the_quickest_candidate_is_chosen():
    names = [candidate.kernel.name for candidate in PLACES[1].candidates]
    times = {1: {names[0]: 9, names[-1]: 5}}
    chosen, told = decide(PLACES, times, "timed")
    assert [one.candidate.kernel.name for one in chosen] == [
        PLACES[0].candidates[0].kernel.name,
        names[-1],
    ]
    assert told.reason == "timed"
    assert told.places[1].nanoseconds == times[1]


def test_a_place_where_nothing_runs_is_named():
    with pytest.raises(CompileFailed, match=f"kernels for {PLACES[0].name} runs on this GPU"):
        decide(PLACES, {0: {}}, "timed")


@pytest.mark.skipif(first_gpu() is not None, reason="there is a GPU here")
def test_without_a_gpu_the_safe_candidates_are_taken():
    signature = signature_of(SPEC, RECIPE)
    chosen, told = choose(PLACES, signature, SPEC, RECIPE, lambda *_: None)
    assert [one.candidate for one in chosen] == [place.candidates[0] for place in PLACES]
    assert told.reason == "no sm_90 to time on: the safe candidate of every place"


@pytest.mark.parametrize(("size", "decode"), [(1, True), (6, True), (1, False), (192, False)])
def test_steps_to_time_with_are_such_as_a_program_takes(size, decode):
    signature = signature_of(SPEC, RECIPE)
    step = timed_step(size, signature, 1024, decode=decode)
    check_step(step, signature, 1 + 6 * 8)
    assert len(step.token_ids) == size


class Timed:
    """Stands for the timer: 1 us for a library, which must be compiled by then, 2 for a kernel."""

    order = []

    def __init__(self, folder, cubins, places, signature, spec, recipe):
        self.folder = folder

    def nanoseconds(self, place):
        libraries = {library.name: library.file for library in libraries_of(place.candidates)}
        assert all((self.folder / file).is_file() for file in libraries.values())
        self.order.append(place.name)
        return {
            c.kernel.name: 1000 if c.kernel.name in libraries else 2000 for c in place.candidates
        }

    def close(self):
        pass


def test_libraries_are_compiled_beside_the_kernels_and_timed_last(monkeypatch):
    spec = SPEC.model_copy(update={"head_dim": 64, "query_pre_attn_scalar": 64})
    recipe = RECIPE.model_copy(update={"limits": LIMITS.model_copy(update={"max_num_tokens": 300})})
    library = attention_library(attention_shape(spec, spec.kinds[0], recipe), "fa3")
    every = places(spec, recipe, {"full": library})
    here = threading.get_ident()
    beside = []

    def put(libraries, rank):
        beside.append(threading.get_ident() != here)
        for one in libraries:
            (rank / one.file).touch()

    fake = types.ModuleType("timer")
    fake.Timer = Timed
    monkeypatch.setitem(sys.modules, "nacelle_builder.compile.gpu.timer", fake)
    monkeypatch.setattr(tactics, "try_cubins", lambda kernels, *_: Cubins({}, {}))
    monkeypatch.setattr(tactics, "first_gpu", lambda: Gpu((9, 0), "NVIDIA-H200", 132, 140 << 30))
    monkeypatch.setattr(Timed, "order", [])
    signature = signature_of(spec, recipe)
    chosen, told = choose(every, signature, spec, recipe, lambda *_: None, put)
    assert beside == [True]
    assert Timed.order[-1] == "prompt_attention" and Timed.order.count("prompt_attention") == 1
    taken = {one.place.name: one.candidate.kernel.name for one in chosen}
    assert taken["prompt_attention"] == library.name
    assert [one.place for one in told.places] == [place.label for place in every]
