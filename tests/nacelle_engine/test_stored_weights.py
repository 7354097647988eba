"""A GPU's weights out of weights.safetensors: scales spread, shared and passed over."""

import pytest
import torch
from safetensors.torch import save_file

from nacelle_engine.errors import CorruptBundle
from nacelle_engine.program.signature import WeightSpec
from nacelle_engine.program.weights import Stored

FC = "transformer.layers.1.mlp.fc.weights_scaling_factor"
GATE = "transformer.layers.1.mlp.gate.weights_scaling_factor"
ATTENTION = "transformer.layers.1.attention"


def stored(folder, tensors):
    save_file(tensors, folder / "weights.safetensors")
    return Stored(folder / "weights.safetensors", torch.device("cpu"))


def factor(join, rows):
    sources = tuple(name.replace(".1.", ".{layer}.") for name in (FC, GATE))
    return WeightSpec(name="s", dtype="float32", shape=(rows,), sources=sources, join=join)


def factors(fc, gate):
    return {FC: torch.tensor([fc]), GATE: torch.tensor([gate])}


@pytest.mark.parametrize("rows", [2, 6, 192])
def test_each_factor_stands_for_its_share_of_the_rows(tmp_path, rows):
    found = stored(tmp_path, factors(0.5, 0.25)).get(factor("repeated", rows), layer=1)
    assert found.is_contiguous()
    assert found.tolist() == [0.5] * (rows // 2) + [0.25] * (rows // 2)


def test_the_same_factor_is_taken_once(tmp_path):
    weights = stored(tmp_path, factors(0.5, 0.5))
    assert weights.get(factor("same", 1), layer=1).tolist() == [0.5]
    assert weights.get(factor("repeated", 4), layer=1).tolist() == [0.5] * 4


def test_factors_that_differ_are_refused(tmp_path):
    with pytest.raises(CorruptBundle, match=f"{FC} and {GATE} must be the same number"):
        stored(tmp_path, factors(0.5, 0.25)).get(factor("same", 1), layer=1)


@pytest.mark.parametrize("join", ["same", "repeated"])
def test_a_factor_of_several_numbers_is_refused(tmp_path, join):
    tensors = {**factors(0.5, 0.5), GATE: torch.ones(3)}
    message = rf"{GATE} has shape \[3\], the program takes one number"
    with pytest.raises(CorruptBundle, match=message):
        stored(tmp_path, tensors).get(factor(join, 1), layer=1)


def test_keys_and_values_have_a_scale_each_and_the_formats_one_is_passed_over(tmp_path):
    kinds = {"kv_cache": 0.5, "k_cache": 0.5, "v_cache": 0.25}
    tensors = {
        f"{ATTENTION}.{kind}_scaling_factor": torch.tensor([scale]) for kind, scale in kinds.items()
    }
    weights = stored(tmp_path, tensors)
    sources = tuple(f"{ATTENTION}.{kind}_scaling_factor" for kind in ("k_cache", "v_cache"))
    spec = WeightSpec(name="kv_scales", dtype="float32", shape=(2,), sources=sources)
    with pytest.raises(CorruptBundle, match=r"no program takes .*\.k_cache_scaling_factor"):
        weights.finish()
    assert weights.get(spec).tolist() == [0.5, 0.25]
    weights.finish()
