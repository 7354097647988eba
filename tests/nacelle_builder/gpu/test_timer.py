"""The timer launches every candidate of every place as a step would, over an interpreted GPU."""

import families
import pytest
import torch
from attention_double import AttentionDouble
from interpreted_gpu import facts_of, interpret
from tiny_llama import BLOCK_SPEC, SPEC

from nacelle_builder.compile.gpu import timer
from nacelle_builder.compile.gpu.attention import attention_shape
from nacelle_builder.compile.gpu.flashinfer_library import attention_library
from nacelle_builder.compile.gpu.place import HeadProduct, kernels_of
from nacelle_builder.compile.gpu.places import places
from nacelle_builder.compile.gpu.signature import signature_of
from nacelle_engine.limits import Limits
from nacelle_engine.model.family import read_spec
from nacelle_engine.precision import Quantization
from nacelle_engine.program import planned_attention
from nacelle_engine.recipe import Recipe

LIMITS = Limits(max_batch_size=2, max_input_len=30, max_seq_len=32, max_num_tokens=130)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "quantization"),
    [
        (SPEC, Quantization(algorithm="FP8", kv_cache="FP8")),
        (BLOCK_SPEC, Quantization()),
        (read_spec(families.config_of("gemma3")), Quantization()),
    ],
)
def test_every_place_can_be_timed(monkeypatch, tmp_path, spec, quantization):
    recipe = Recipe(architecture="sm_89", limits=LIMITS, quantization=quantization)
    signature = signature_of(spec, recipe)
    every = places(spec, recipe)
    kernels = kernels_of(candidate for place in every for candidate in place.candidates)
    interpret(monkeypatch, timer, kernels.values())
    # Few bytes to rotate, and two launches, or the interpreter takes minutes.
    monkeypatch.setattr(timer, "_ROTATED_BYTES", 1)
    monkeypatch.setattr(timer, "_LAUNCHES", 2)
    cubins = {name: facts_of(kernel) for name, kernel in kernels.items()}
    made = timer.Timer(tmp_path, cubins, every, signature, spec, recipe)
    first = {place.name: place for place in reversed(every)}
    for place in first.values():
        names = [candidate.kernel.name for candidate in place.candidates[:1]]
        found = made.nanoseconds(
            timer.Place(place.name, place.first, place.last, place.candidates[:1])
        )
        assert list(found) == names


@pytest.mark.slow
def test_the_head_s_product_is_timed_with_its_norm(monkeypatch, tmp_path):
    recipe = Recipe(architecture="sm_89", limits=LIMITS, quantization=Quantization())
    every = places(SPEC, recipe)
    place = next(place for place in every if place.name == "logits" and place.last == 128)
    product = next(c for c in place.candidates if isinstance(c.kernel, HeadProduct))
    kernels = kernels_of([product])
    interpret(monkeypatch, timer, kernels.values())
    monkeypatch.setattr(timer, "_ROTATED_BYTES", 1)
    monkeypatch.setattr(timer, "_LAUNCHES", 2)
    cubins = {name: facts_of(kernel) for name, kernel in kernels.items()}
    made = timer.Timer(tmp_path, cubins, every, signature_of(SPEC, recipe), SPEC, recipe)
    made._logits.fill_(torch.nan)
    # The kernels beside it have no cubin here.
    assert list(made.nanoseconds(place)) == [product.kernel.name]
    assert made._logits[:60].isfinite().all()
    made.close()


@pytest.mark.slow
def test_a_library_is_timed_as_the_kernels_are(monkeypatch, tmp_path):
    spec = SPEC.model_copy(update={"head_dim": 64, "query_pre_attn_scalar": 64})
    limits = Limits(max_batch_size=2, max_input_len=256, max_seq_len=300, max_num_tokens=300)
    recipe = Recipe(architecture="sm_89", limits=limits, quantization=Quantization(kv_cache="FP8"))
    shape = attention_shape(spec, spec.kinds[0], recipe)
    library = attention_library(shape, "fa3")
    every = places(spec, recipe, {"full": library})
    interpret(monkeypatch, timer, ())
    monkeypatch.setattr(timer, "_ROTATED_BYTES", 1)
    monkeypatch.setattr(timer, "_LAUNCHES", 2)
    double = AttentionDouble(library, shape)
    monkeypatch.setattr(planned_attention, "Attention", lambda *_: double)
    monkeypatch.setattr(planned_attention, "multiprocessors", lambda device: 1)
    made = timer.Timer(tmp_path, {}, every, signature_of(spec, recipe), spec, recipe)
    place = next(place for place in every if place.name == "prompt_attention")
    assert list(made.nanoseconds(place)) == [library.name]
    (step,) = double.plans
    assert step.q_start.tolist() == [0, 300]
    made.close()
