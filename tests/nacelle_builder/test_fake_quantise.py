"""Rounding the reference's activations: the formula, element by element, and where it applies."""

import pytest
import torch

from nacelle_builder.calibrate.scales import KvScale, Scales
from nacelle_builder.convert.checkpoint import open_checkpoint
from nacelle_builder.convert.convert import convert, read_model
from nacelle_builder.gate.fake_quantise import (
    Rounding,
    round_per_token,
    round_static,
    rounding_of,
)
from nacelle_builder.gate.reference import Reference
from nacelle_builder.source.files import find_checkpoint
from nacelle_engine.model.checkpoint import checkpoint_tensors
from nacelle_engine.precision import Quantization

IDS = torch.tensor([[5, 6, 7, 8, 9, 100, 2, 3], [1, 4, 9, 16, 25, 36, 49, 64]])
DOWN = "model.layers.1.mlp.down_proj"


def grid():
    """Every finite number of E4M3, from its bits: 4 of exponent (bias 7), 3 of mantissa."""
    numbers = []
    for bits in range(0x7F):
        exponent, mantissa = bits >> 3, bits & 7
        whole = mantissa / 8 * 2**-6 if exponent == 0 else (1 + mantissa / 8) * 2 ** (exponent - 7)
        numbers += [whole, -whole]
    return torch.tensor(numbers)


def distance(x):
    """How far each element is from the nearest number of the grid."""
    return (x.flatten()[:, None].double() - grid().double()).abs().amin(1).view(x.shape)


@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (2, 5, 48)])
@pytest.mark.parametrize("scale", [1e-3, 0.02, 3.0])
def test_static_rounding_is_to_the_nearest_number(shape, scale):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3)) * scale * 100
    rounded = round_static(x, scale)
    # float32's own rounding is 2^-24 of x, twice.
    slack = 3e-7 * x.abs() / scale
    moved = (rounded - x).abs() / scale
    assert bool(((moved - distance(x / scale)).abs() <= slack).all())
    assert bool((distance(rounded / scale) <= slack).all())


def test_static_rounding_cuts_what_is_beyond_its_range():
    x = torch.tensor([1e6, -1e6, 447.0, 500.0])
    assert round_static(x, 0.5).tolist() == [224.0, -224.0, 224.0, 224.0]


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (2, 3, 48)])
def test_each_token_has_the_scale_of_its_row(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(4)) * 30
    rounded = round_per_token(x)
    for row, found in zip(x.view(-1, shape[-1]), rounded.view(-1, shape[-1]), strict=True):
        assert torch.equal(found, round_static(row, float(row.abs().max() / 448)))
    assert torch.equal(rounded.abs().amax(-1), x.abs().amax(-1)) or torch.allclose(
        rounded.abs().amax(-1), x.abs().amax(-1), rtol=1e-6
    )


def test_a_token_of_zeros_stays():
    assert round_per_token(torch.zeros(2, 5)).tolist() == [[0.0] * 5] * 2


def test_the_type_is_kept():
    assert round_per_token(torch.ones(2, 5, dtype=torch.bfloat16)).dtype == torch.bfloat16


def seen_by(reference, module, rounding):
    """What a linear is given while the reference runs."""
    inputs = []
    linear = reference._model.get_submodule(module)
    forward = linear.forward
    linear.forward = lambda x: (inputs.append(x), forward(x))[1]
    reference.rounded(rounding).logits(IDS)
    linear.forward = forward
    return inputs[0]


@pytest.mark.parametrize("scale", [None, 0.002])
def test_a_linear_gets_its_input_rounded(tiny, scale):
    reference = Reference.load(tiny)
    plain = seen_by(reference, DOWN, Rounding())
    wanted = round_per_token(plain) if scale is None else round_static(plain, scale)
    assert torch.equal(seen_by(reference, DOWN, Rounding({DOWN: scale})), wanted)
    assert not torch.equal(wanted, plain)
    assert torch.equal(seen_by(reference, DOWN, Rounding()), plain)


def test_a_rounded_row_does_not_depend_on_the_others(tiny):
    reference = Reference.load(tiny)
    rounding = Rounding({DOWN: None}, (KvScale(k=0.01, v=0.01),) * 2)
    both, alone = (reference.rounded(rounding).logits(ids) for ids in (IDS, IDS[:1]))
    assert torch.allclose(both[:1], alone, rtol=1e-4, atol=1e-4)


def test_coarse_keys_and_values_change_the_logits_and_fine_ones_hardly(tiny):
    reference = Reference.load(tiny)
    plain = reference.logits(IDS)

    def error(scale):
        found = reference.rounded(Rounding(kv=(scale, scale))).logits(IDS)
        return float((found - plain).norm() / plain.norm())

    # Too large a scale flushes everything to 0; one that fits rounds by 2^-4 at most.
    assert error(KvScale(k=1e6, v=1e6)) > 0.2
    assert 1e-4 < error(KvScale(k=0.05, v=0.05)) < 0.1
    assert error(KvScale(k=0.05, v=1e6)) > 0.2


def test_the_first_token_attends_to_its_own_rounded_value(tiny):
    """With one token attention gives its value back: o_proj's input is the rounded value."""
    reference = Reference.load(tiny)
    one = IDS[:1, :1]
    name = "model.layers.0.self_attn.o_proj"
    inputs = []
    module = reference._model.get_submodule(name)
    handle = module.register_forward_pre_hook(lambda m, args: inputs.append(args[0]))
    reference.logits(one)
    reference.rounded(Rounding(kv=(KvScale(k=0.02, v=0.03),) * 2)).logits(one)
    handle.remove()
    plain, rounded = inputs
    assert torch.allclose(rounded, round_static(plain, 0.03), atol=1e-6)
    assert not torch.equal(rounded, plain)


@pytest.fixture
def source(tiny):
    return read_model(find_checkpoint(tiny))


def rounding_from(source, out, quantization, inputs):
    names = [t.name for t in checkpoint_tensors(source.spec) if t.linear]
    scales = Scales(
        inputs={name: 0.25 * (n + 1) for n, name in enumerate(names)},
        kv=(KvScale(k=0.5, v=0.25), KvScale(k=0.125, v=2.0)),
    )
    convert(source, quantization, out, lambda percent, message: None, scales)
    with open_checkpoint(out / "rank0.safetensors") as checkpoint:
        return rounding_of(source.spec, source.sources, checkpoint, quantization, inputs=inputs)


def test_static_scales_come_from_the_checkpoint(source, tmp_path):
    static = Quantization(algorithm="FP8", kv_cache="FP8")
    rounding = rounding_from(source, tmp_path / "c", static, inputs=True)
    assert len(rounding.inputs) == 2 * 7
    attention = {rounding.inputs[f"model.layers.0.self_attn.{x}_proj"] for x in "qkv"}
    assert attention == {0.25}
    assert rounding.inputs[DOWN] == 2.5
    assert rounding.kv == (KvScale(k=0.5, v=0.25), KvScale(k=0.125, v=2.0))


def test_inputs_per_token_have_no_scale(source, tmp_path):
    rounding = rounding_from(source, tmp_path / "c", Quantization(), inputs=True)
    assert set(rounding.inputs.values()) == {None}
    assert rounding.kv == ()


@pytest.mark.parametrize("algorithm", ["FP8", "NONE"])
def test_a_class_that_leaves_inputs_alone_still_rounds_the_cache(source, tmp_path, algorithm):
    quantization = Quantization(algorithm=algorithm, kv_cache="FP8")
    rounding = rounding_from(source, tmp_path / "c", quantization, inputs=False)
    assert rounding.inputs == {}
    assert len(rounding.kv) == 2


def test_a_static_checkpoints_reference_has_its_dequantised_weights(source, tiny, tmp_path):
    static = Quantization(algorithm="FP8")
    rounding_from(source, tmp_path / "c", static, inputs=False)
    reference = Reference.load(tiny)
    with open_checkpoint(tmp_path / "c" / "rank0.safetensors") as checkpoint:
        reference.take_weights(source.spec, source.sources, checkpoint)
        tensor = next(t for t in checkpoint_tensors(source.spec) if "attention.qkv" in t.name)
        wanted = checkpoint.read(tensor)
    attention = reference._model.model.layers[0].self_attn
    found = torch.cat([getattr(attention, f"{x}_proj").weight for x in "qkv"])
    assert torch.equal(found, wanted)
