"""Every family against transformers' own model in float32, from its folder to the logits."""

import json
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import families
import pytest
import ready_made
import torch
from eager_program import eager_program
from torch.nn.utils.rnn import pad_sequence

from nacelle_builder.calibrate.stored_scales import stored_scales
from nacelle_builder.compile.cpu.signature import signature_of
from nacelle_builder.compile.programs import compile_programs
from nacelle_builder.convert.checkpoint import RANK0, open_checkpoint
from nacelle_builder.convert.convert import convert, read_model
from nacelle_builder.gate.fidelity import bounds_of, phases
from nacelle_builder.gate.reference import Reference
from nacelle_builder.gate.steps import block_tables, step_input
from nacelle_builder.gate.weights import check_weights
from nacelle_builder.source.files import find_checkpoint
from nacelle_builder.source.weights import open_weights
from nacelle_engine.arch import cpu_flags, cpu_level
from nacelle_engine.limits import Limits
from nacelle_engine.model.checkpoint import checkpoint_tensors
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.precision import ComputeType, Quantization, QuantizationAlgorithm
from nacelle_engine.program.program import Program, open_program
from nacelle_engine.program.signature import KERNELS, WEIGHTS
from nacelle_engine.recipe import Recipe

FLOAT32 = Quantization(algorithm=QuantizationAlgorithm.NONE, compute_type=ComputeType.FLOAT32)
LIMITS = Limits(max_batch_size=16, max_input_len=200, max_seq_len=256, max_num_tokens=256)
RECIPE = Recipe(architecture=cpu_level(cpu_flags()), quantization=FLOAT32, limits=LIMITS)
# ||found - expected|| / ||expected - its mean|| of a row of logits.
TOLERANCE = 1e-4
# A row whose two best words lie closer than this says nothing about its winner.
NEAR_TIE = 1e-2


@dataclass(frozen=True)
class Case:
    """A model's spec, the rank's folder with the converted weights, its reference's logits.

    logits: float32 [tokens, vocab] of each sequence of every one of `steps`.
    """

    spec: ModelSpec
    rank: Path
    logits: list[list[torch.Tensor]]


@pytest.fixture(scope="module")
def case_of(tmp_path_factory):
    """A function of a family's name and a quantisation; each is made once."""
    made: dict[tuple[str, Quantization], Case] = {}

    def case(name: str, quantization: Quantization = FLOAT32) -> Case:
        key = name, quantization
        if key not in made:
            made[key] = make_case(name, quantization, tmp_path_factory.mktemp(name))
        return made[key]

    return case


def make_case(name: str, quantization: Quantization, root: Path) -> Case:
    folder, model, rank = families.converted(name, quantization, root)
    reference = Reference.load(folder)
    if quantization.algorithm != QuantizationAlgorithm.NONE:
        with (
            open_weights(model.index, model.stored) as source,
            open_checkpoint(rank / WEIGHTS) as converted,
        ):
            check_weights(model.spec, model.sources, source, converted, quantization)
            reference.take_weights(model.spec, model.sources, converted)
    return Case(model.spec, rank, [logits_of(reference, ids) for _, ids in steps()])


def steps():
    """(phase, its sequences' ids) of every way that a step can look."""
    generator = random.Random(3)
    for item in phases(LIMITS):
        yield (
            item,
            [
                [generator.randrange(3, families.VOCAB) for _ in range(item.length(s))]
                for s in range(item.sequences)
            ],
        )


def logits_of(reference: Reference, ids: list[list[int]]) -> list[torch.Tensor]:
    """Each sequence's logits; what fills the shorter ones up comes after all that they see."""
    texts = pad_sequence([torch.tensor(one) for one in ids], batch_first=True)
    return [row[: len(one)] for row, one in zip(reference.logits(texts), ids, strict=True)]


def rows_of(program: Program, case: Case):
    """(found, expected) rows of logits of every way that a step can look."""
    found, expected = [], []
    for (item, ids), logits in zip(steps(), case.logits, strict=True):
        tables = block_tables([len(one) for one in ids])
        program.allocate_kv(1 + sum(len(table) for table in tables))
        for spans in item.steps:
            step = step_input(spans, ids, tables, len(program.signature.kv_groups))
            found.append(program.run(step).clone())
            expected += [logits[s.sequence][s.start : s.start + s.count] for s in spans]
    return torch.cat(found), torch.cat(expected)


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest relative error of a row."""
    centred = expected - expected.mean(1, keepdim=True)
    return float(((found - expected).norm(dim=1) / centred.norm(dim=1)).max())


def check(program: Program, case: Case) -> None:
    found, expected = rows_of(program, case)
    assert error(found, expected) < TOLERANCE
    best = expected.topk(2).values
    margin = best[:, 0] - best[:, 1]
    assert float(margin.median()) > 1
    clear = margin > NEAR_TIE
    assert float((~clear).float().mean()) <= 0.05
    assert torch.equal(found.argmax(1)[clear], expected.argmax(1)[clear])


@pytest.fixture
def eager(case_of, kernels, monkeypatch):
    """A function (family, quantisation, changes of its spec) -> (eager program, its case)."""

    def make(name: str, quantization: Quantization = FLOAT32, **changes):
        case = case_of(name, quantization)
        if not (case.rank / KERNELS).exists():
            (case.rank / KERNELS).symlink_to(kernels)
        spec = ModelSpec.model_validate(case.spec.model_dump() | changes)
        recipe = RECIPE.model_copy(update={"quantization": quantization})
        return eager_program(monkeypatch, case.rank, spec, recipe), case

    return make


@pytest.mark.parametrize("name", families.NAMES)
def test_the_decoder_is_the_family_s(eager, name):
    check(*eager(name))


@pytest.mark.parametrize("name", ["qwen3-biased", "phi3", "gemma3"])
@pytest.mark.parametrize("compute", ComputeType)
def test_a_quantised_family_is_its_fake_quantised_reference(eager, name, compute):
    quantization = Quantization(compute_type=compute)
    program, case = eager(name, quantization)
    found, expected = rows_of(program, case)
    assert error(found, expected) < bounds_of(compute, len(program.signature.layers)).row


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("mistral", {"sliding_window": 44}),
        ("phi3", {"sliding_window": 46}),
        ("qwen2-windowed", {"layer_types": ("sliding",) * 3}),
        ("gemma2", {"attention_soft_cap": None}),
        ("gemma2", {"logits_soft_cap": None}),
        ("gemma2", {"layer_types": ("full", "sliding", "full")}),
        ("gemma2", {"query_pre_attn_scalar": 32}),
        ("gemma2", {"embedding_scale": None}),
        ("gemma2", {"activation": "silu"}),
        ("gemma3", {"sliding_inverse_frequencies": None}),
        ("gemma3", {"norm_eps": 1e-2}),
    ],
)
def test_every_part_of_a_family_counts(eager, name, changes):
    assert error(*rows_of(*eager(name, **changes))) > 10 * TOLERANCE


@pytest.mark.parametrize(
    ("made", "algorithm"),
    [
        (ready_made.compressed, QuantizationAlgorithm.FP8_PER_CHANNEL_PER_TOKEN),
        (ready_made.auto_fp8, QuantizationAlgorithm.FP8),
        (ready_made.blocks, QuantizationAlgorithm.FP8_PER_CHANNEL_PER_TOKEN),
    ],
)
def test_a_ready_made_model_s_fused_tensors_are_parted(tmp_path, made, algorithm):
    model = read_model(find_checkpoint(made(families.save("phi3", tmp_path / "model"))))
    quantization = Quantization(algorithm=algorithm, compute_type=ComputeType.FLOAT32)
    convert(model, quantization, tmp_path / "out", lambda *_: None, stored_scales(model))
    with (
        open_weights(model.index, model.stored) as source,
        open_checkpoint(tmp_path / "out" / RANK0) as converted,
    ):
        check_weights(model.spec, model.sources, source, converted, quantization)
        both = source.read("model.layers.1.mlp.gate_up_proj.weight").chunk(2)
        for name, half in zip(("fc", "gate"), both, strict=True):
            (tensor,) = (
                t
                for t in checkpoint_tensors(model.spec)
                if t.name == f"transformer.layers.1.mlp.{name}.weight"
            )
            apart = (converted.read(tensor) - half).norm() / half.norm()
            assert float(apart) < (1e-6 if made is not ready_made.blocks else 0.04)


def test_each_kind_of_layer_is_a_kv_group(case_of):
    spec = case_of("gemma3").spec
    signature = signature_of(spec, RECIPE)
    groups = [(group.name, group.layers, group.window) for group in signature.kv_groups]
    assert groups == [("full", 1, None), ("sliding", 2, 45)]
    assert [(layer.program, layer.group) for layer in signature.layers] == [
        ("layer.sliding", 1), ("layer.sliding", 1), ("layer.full", 0),
    ]  # fmt: skip
    assert [kind.name for kind in signature.kinds] == ["layer.full", "layer.sliding"]
    assert signature.inverse_frequencies == tuple(k.inverse_frequencies for k in spec.kinds)


def test_the_checkpoint_s_config_says_what_a_family_adds(case_of):
    rank = case_of("gemma3").rank
    config = json.loads((rank.parent / "out" / "config.json").read_text())
    assert config["hidden_act"] == "gelu_pytorch_tanh"
    assert config["rotary_scaling"] == {"rope_type": "linear", "factor": 8.0}
    assert (config["rotary_base"], config["rope_local_base_freq"]) == (500_000.0, 1_000.0)
    assert config["layer_types"] == ["sliding_attention", "sliding_attention", "full_attention"]
    assert (config["sliding_window"], config["query_pre_attn_scalar"]) == (45, 24)
    assert config["qk_layernorm"] and config["inter_layernorms"] and not config["attn_bias"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2", "qwen3", "phi3", "gemma2", "gemma3"])
def test_the_compiled_programs_are_the_family_s(case_of, tmp_path, name):
    case = case_of(name)
    rank = tmp_path / "rank0"
    compile_programs(case.spec, RECIPE, rank, lambda *_: None)
    shutil.copyfile(case.rank / WEIGHTS, rank / WEIGHTS)
    check(open_program(rank), case)
