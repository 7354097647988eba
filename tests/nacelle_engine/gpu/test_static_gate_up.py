"""static_gate_up against its formula: odd numbers of tokens and columns, both activations."""

import pytest
import torch
from interpreted import run

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu import static_gate_up
from nacelle_engine.ops.gpu.static_gate_up import Choice, Shape

CHOICES = [Choice(16, 32, 4, 2), Choice(32, 16, 4, 3)]


def shape(rows, width, activation="silu"):
    # The interpreter knows no dependent launch, which sm_89 has not.
    return Shape(rows, width, activation, Architecture.SM_89)


def inputs(model, tokens):
    torch.manual_seed(tokens)
    weight = (60 * torch.randn(2 * model.rows, model.width)).to(torch.float8_e4m3fn)
    return {
        "x_codes": (60 * torch.randn(tokens, model.width)).to(torch.float8_e4m3fn),
        "input_scale": torch.tensor([0.02]),
        "weight": weight,
        "scale": (0.5 + torch.rand(2 * model.rows)) / (60 * model.width**0.5),
        "static_scale": torch.tensor([0.01]),
    }


def launch(model, choice, given):
    tokens = len(given["x_codes"])
    # A row more, which must stay as it is.
    codes = torch.full((tokens + 1, model.rows), 0x7F, dtype=torch.uint8)
    found = codes.view(torch.float8_e4m3fn)
    kernel = static_gate_up.kernel(model, choice)
    run(kernel, {**given, "inner_codes": found, "T": tokens}, T=tokens)
    assert bool((codes[-1] == 0x7F).all())
    return found[:-1]


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("activation", ["silu", "gelu_tanh"])
@pytest.mark.parametrize(("rows", "width"), [(48, 96), (80, 256)])
def test_the_formula(choice, activation, rows, width):
    model = shape(rows, width, activation)
    for tokens in (1, 5, 17, 33):
        given = inputs(model, tokens)
        found = launch(model, choice, given).float()
        wanted = static_gate_up.reference(*given.values(), model).float()
        # Sums in another order round some codes to the other side.
        assert float((found != wanted).float().mean()) < 5e-3
        assert float((found - wanted).norm() / wanted.norm()) < 5e-3


def test_what_the_scale_cannot_hold_is_clamped():
    model = shape(48, 96)
    given = inputs(model, 5)
    given["static_scale"] = torch.tensor([1e-5])
    found = launch(model, CHOICES[0], given).float()
    assert torch.isfinite(found).all() and float(found.max()) == 448


@pytest.mark.parametrize("choice", CHOICES)
def test_a_row_is_the_same_in_any_batch(choice):
    model = shape(48, 96)
    given = inputs(model, 33)
    together = launch(model, choice, given).view(torch.uint8)
    for token in (0, 32):
        one = {**given, "x_codes": given["x_codes"][token : token + 1]}
        assert torch.equal(launch(model, choice, one)[0].view(torch.uint8), together[token])


def test_tiles_follow_the_step():
    model = Shape(14336, 4096)
    assert {choice.tokens for choice in static_gate_up.choices(model, 32)} == {64}
    assert {choice.tokens for choice in static_gate_up.choices(model, 128)} == {64, 128}
    assert {choice.tokens for choice in static_gate_up.choices(model, 160)} == {64, 128, 256}


@pytest.mark.parametrize(("architecture", "width"), [("sm_80", 4096), ("sm_90", 4096 + 16)])
def test_it_is_not_offered_where_it_cannot_be(architecture, width):
    model = Shape(14336, width, architecture=Architecture(architecture))
    assert static_gate_up.choices(model, 64) == ()
