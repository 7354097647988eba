"""A layer's networks for TensorRT: pinned for every family, and computed beside our own layer."""

import types
from pathlib import Path

import families
import pytest
import torch
from network_evaluator import evaluate

from nacelle_builder.compile.gpu.signature import signature_of
from nacelle_builder.compile.tensorrt.layer_networks import layer_networks
from nacelle_builder.compile.tensorrt.network import listing
from nacelle_builder.compile.tensorrt.profiles import profiles
from nacelle_builder.compile.tensorrt.request_check import check_tensorrt
from nacelle_builder.gate.fake_quantise import round_per_token, round_static
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.limits import Limits
from nacelle_engine.model import decoder
from nacelle_engine.model.family import read_spec
from nacelle_engine.ops import attention, linear, norm, norm_gate_up, norm_linear
from nacelle_engine.precision import Quantization, QuantizationAlgorithm
from nacelle_engine.recipe import Recipe

GOLDEN = Path(__file__).parent / "golden"
ALGORITHMS = tuple(QuantizationAlgorithm)
LIMITS = Limits(max_batch_size=8, max_input_len=100, max_seq_len=256, max_num_tokens=300)
TOKENS = 13
INPUT_SCALES = {"qkv": 0.011, "dense": 0.012, "gate_up": 0.013, "down": 0.05}


def recipe_of(algorithm, architecture="sm_90", **more):
    return Recipe(
        architecture=architecture,
        backend="tensorrt",
        quantization=Quantization(algorithm=algorithm),
        limits=LIMITS,
        **more,
    )


def case(name, algorithm):
    spec, recipe = read_spec(families.config_of(name)), recipe_of(algorithm)
    return spec, signature_of(spec, recipe), layer_networks(spec, recipe)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", families.NAMES)
def test_a_layers_networks_are_those_on_file(name, algorithm):
    _, _, networks = case(name, algorithm)
    text = "\n".join(listing(network) for network in networks) + "\n"
    assert text == (GOLDEN / f"{name}-{algorithm}.txt").read_text()


def random_weights(signature):
    """Weights of one layer by name, and the float32 values that they stand for."""
    torch.manual_seed(len(signature.kinds[0].weights))
    made = {}
    for spec in signature.kinds[0].weights:
        if spec.dtype == "float8_e4m3fn":
            made[spec.name] = (
                (100 * torch.randn(spec.shape)).clamp(-448, 448).to(torch.float8_e4m3fn)
            )
        elif spec.name.endswith("_input_scale"):
            made[spec.name] = torch.tensor([INPUT_SCALES[spec.name.removesuffix("_input_scale")]])
        elif spec.dtype == "float32":
            made[spec.name] = (0.5 + torch.rand(spec.shape)) / 100 / signature.hidden_size**0.5
        elif len(spec.shape) == 1:
            made[spec.name] = (1 + 0.3 * torch.randn(spec.shape)).bfloat16()
        else:
            made[spec.name] = (torch.randn(spec.shape) / spec.shape[1] ** 0.5).bfloat16()
    values = {}
    for name in ("qkv", "dense", "gate_up", "down"):
        scale = made.get(f"{name}_factor", made.get(f"{name}_scale", torch.ones(1)))
        values[name] = made[name].float() * scale[:, None]
    return made, {name: made[name].float() for name in made} | values


class Eager:
    """The decoder's layer on the formulas of its ops, and the tensors where networks begin."""

    def __init__(self, monkeypatch, spec, signature, rounding):
        self.qkv = self.attention = None
        group = signature.kv_groups[0]
        self._kv = torch.zeros(2, 2, group.kv_heads, 32, group.head_dim)
        self._spec, self._rounding = spec, rounding
        self._layer = decoder.Layer(
            spec, spec.kinds[0], dict.fromkeys(("qkv", "dense", "gate_up", "down"), (1, 0))
        )
        ops = types.SimpleNamespace(
            norm_linear=self._norm_linear,
            attention=self._attention,
            linear=self._linear,
            norm=norm.reference,
            norm_gate_up=self._norm_gate_up,
        )
        monkeypatch.setattr(decoder, "_ops", ops)

    def run(self, x, weights):
        """The next layer's residual stream."""
        kind, positions = self._spec.kinds[0], torch.arange(TOKENS)
        angles = positions[:, None] * torch.tensor(kind.inverse_frequencies)
        names = self._layer.forward.__code__.co_varnames
        out, residual = self._layer(
            hidden=x,
            residual=torch.zeros_like(x),
            cos_sin=torch.cat((angles.cos(), angles.sin()), 1),
            slots=32 + positions,
            q_start=torch.tensor([0, TOKENS]).int(),
            block_table=torch.tensor([[1]]).int(),
            seq_lens=torch.tensor([TOKENS]).int(),
            kv=self._kv,
            **{name: value for name, value in weights.items() if name in names},
        )
        return out + residual

    def _norm_linear(self, hidden, residual, weight, qkv, bias, eps, _):
        normed, total = norm_linear.rms_norm.reference(hidden, residual, weight, eps)
        self.qkv = linear.reference(self._rounding("qkv", normed), qkv, bias)
        return self.qkv, total

    def _attention(self, *arguments):
        self.attention = attention.reference(*arguments)
        return self.attention

    def _linear(self, x, weight, bias, _):
        name = "dense" if x is self.attention else "down"
        return linear.reference(self._rounding(name, x), weight, bias)

    def _norm_gate_up(self, hidden, residual, weight, gate_up, eps, activation, _):
        normed, total = norm_gate_up.rms_norm.reference(hidden, residual, weight, eps)
        # The formula again, of the input as it is rounded.
        gate, up = (self._rounding("gate_up", normed) @ gate_up.T).chunk(2, dim=-1)
        gelu = torch.nn.functional.gelu(gate, approximate="tanh")
        act = torch.nn.functional.silu(gate) if activation == norm_gate_up.SILU else gelu
        return act * up, total


def relative(found, wanted):
    return float((found.float() - wanted).norm() / wanted.norm())


def errors(monkeypatch, name, algorithm, rounding, **how):
    """Of (entry's output, exit's output) against the decoder's layer."""
    spec, signature, (entry, leave) = case(name, algorithm)
    weights, values = random_weights(signature)
    x = torch.randn(TOKENS, spec.hidden_size).bfloat16()
    eager = Eager(monkeypatch, spec, signature, rounding)
    wanted = eager.run(x.float(), values)
    given = weights | {"x": x, "attention": eager.attention.bfloat16()}
    qkv, out = evaluate(entry, given, **how), evaluate(leave, given, **how)
    return relative(qkv, eager.qkv), relative(out, wanted)


@pytest.fixture
def handed_over_wide(monkeypatch):
    """The attention's output is what a network is given: numbers that bfloat16 holds."""
    given = attention.reference
    monkeypatch.setattr(attention, "reference", lambda *a: given(*a).bfloat16().float())


ROUNDINGS = {
    "NONE": lambda _, x: x,
    "FP8": lambda name, x: round_static(x, INPUT_SCALES[name]),
    "FP8_PER_CHANNEL_PER_TOKEN": lambda _, x: round_per_token(x),
}


@pytest.mark.usefixtures("handed_over_wide")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", families.NAMES)
def test_without_rounding_they_are_the_decoders_layer(monkeypatch, name, algorithm):
    plain = ROUNDINGS["NONE"]
    assert max(errors(monkeypatch, name, algorithm, plain, wide=True, codes=False)) < 1e-5


@pytest.mark.slow
@pytest.mark.usefixtures("handed_over_wide")
@pytest.mark.parametrize("algorithm", ["FP8", "FP8_PER_CHANNEL_PER_TOKEN"])
@pytest.mark.parametrize("name", families.NAMES)
def test_inputs_are_rounded_as_the_gates_reference_rounds_them(monkeypatch, name, algorithm):
    found = errors(monkeypatch, name, algorithm, ROUNDINGS[algorithm], wide=True)
    unrounded = errors(monkeypatch, name, algorithm, ROUNDINGS["NONE"], wide=True)
    # A hair's difference may round to the next number, once in thousands of times.
    assert max(found) < 4e-3 and 2 * max(found) < min(unrounded)


@pytest.mark.slow
@pytest.mark.usefixtures("handed_over_wide")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", families.NAMES)
def test_bfloat16_between_costs_what_the_gate_allows(monkeypatch, name, algorithm):
    bound = 2**-7 if algorithm == "NONE" else 0.036 * 3**0.5
    assert max(errors(monkeypatch, name, algorithm, ROUNDINGS[algorithm])) < bound


def test_a_row_of_zeros_stays_one():
    spec, signature, (_, leave) = case("llama", QuantizationAlgorithm.FP8_PER_CHANNEL_PER_TOKEN)
    weights, _ = random_weights(signature)
    x = torch.zeros(2, spec.hidden_size, dtype=torch.bfloat16)
    given = {"x": x, "attention": torch.zeros(2, spec.q_size, dtype=torch.bfloat16)}
    assert not evaluate(leave, weights | given).any()


def test_profiles_have_no_gap_and_end_at_the_limit():
    networks = case("llama", QuantizationAlgorithm.NONE)[2]
    told = [(one.first, one.last) for one in profiles(networks, 8192)]
    assert told == [(1, 1), (2, 16), (17, 64), (65, 256), (257, 2048), (2049, 8192)]
    assert [(one.first, one.last) for one in profiles(networks, 1)] == [(1, 1)]
    assert profiles(networks, 300)[-1].last == 300


def test_a_profile_beyond_tensorrts_numbers_is_refused():
    networks = case("llama", QuantizationAlgorithm.NONE)[2]
    with pytest.raises(InvalidRequest) as refused:
        profiles(networks, 7_000_000)
    assert str(refused.value) == (
        "limits.maxNumTokens 7000000 is above what TensorRT's profiles take of this model: a "
        "step's widest tensor has 352 numbers a token, and a tensor at most 2147483647; use at "
        "most 6100805, or backend native"
    )


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            recipe_of("NONE", "x86-64-v3"),
            "backend tensorrt compiles for GPUs, the target is x86-64-v3: use backend native",
        ),
        (
            recipe_of("FP8", "sm_80"),
            "quantization.algorithm FP8 needs sm_89 or later with backend tensorrt, which "
            "multiplies FP8 with FP8 alone; the target is sm_80: use NONE, or backend native",
        ),
        (
            recipe_of("FP8", determinism="BatchInvariant"),
            "determinism BatchInvariant is not built for backend tensorrt, whose kernels follow "
            "the step's size: use Fast, or backend native",
        ),
    ],
)
def test_what_it_is_not_made_for_is_refused_by_name(recipe, message):
    with pytest.raises(InvalidRequest) as refused:
        check_tensorrt(recipe)
    assert str(refused.value) == message


def test_what_it_is_made_for_passes():
    for algorithm in ALGORITHMS:
        check_tensorrt(recipe_of(algorithm))
    check_tensorrt(recipe_of("NONE", "sm_80"))
