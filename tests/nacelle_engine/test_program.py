"""Compiled programs of a tiny float32 model against transformers' model, in ragged mixed steps."""

import json
import random
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from nacelle_builder.compile.programs import compile_programs
from nacelle_engine.arch import cpu_flags, cpu_level
from nacelle_engine.errors import CorruptBundle
from nacelle_engine.limits import Limits
from nacelle_engine.model.checkpoint import checkpoint_tensors
from nacelle_engine.model.families import family_of
from nacelle_engine.model.family import read_spec, source_names
from nacelle_engine.model.scales import PER_CHANNEL, linear_scale
from nacelle_engine.precision import ComputeType, Quantization, QuantizationAlgorithm
from nacelle_engine.program.program import open_program
from nacelle_engine.program.signature import PROGRAMS, WEIGHTS
from nacelle_engine.program.step import StepInput
from nacelle_engine.recipe import Recipe

pytestmark = pytest.mark.slow

VOCAB = 211
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": VOCAB,
    "hidden_size": 96,
    "intermediate_size": 176,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "tie_word_embeddings": False,
}
LIMITS = Limits(max_batch_size=8, max_input_len=200, max_seq_len=256, max_num_tokens=256)


def random_model():
    """A model whose logits have clear winners: median top-2 margin above 1."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**CONFIG)).eval()
    for parameter in model.parameters():
        if parameter.dim() == 2:
            parameter.data.normal_(std=1.5 / parameter.shape[1] ** 0.5)
    model.lm_head.weight.data.mul_(3)
    return model


def fp8_checkpoint(model, spec):
    """The checkpoint's tensors, FP8 per channel; the model gets the dequantised weights."""
    state, made = model.state_dict(), {}
    sources = source_names(family_of(CONFIG), spec)
    for tensor in checkpoint_tensors(spec):
        parts = [state[name] for name in sources[tensor.name].names]
        whole = torch.cat(parts)
        if tensor.linear:
            scale = whole.abs().amax(1) / 448
            fp8 = (whole / scale[:, None]).to(torch.float8_e4m3fn)
            made[tensor.name], made[linear_scale(tensor.name, PER_CHANNEL)] = fp8, scale
            whole = fp8.float() * scale[:, None]
            for part, value in zip(parts, whole.split([len(p) for p in parts]), strict=True):
                part.copy_(value)
        else:
            made[tensor.name] = whole.clone()
    return made


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """(rank folder, transformers' model with the same weights)."""
    rank = tmp_path_factory.mktemp("engine") / "rank0"
    spec, model = read_spec(CONFIG), random_model()
    quantization = Quantization(
        algorithm=QuantizationAlgorithm.FP8_PER_CHANNEL_PER_TOKEN,
        compute_type=ComputeType.FLOAT32,
    )
    recipe = Recipe(architecture=cpu_level(cpu_flags()), quantization=quantization, limits=LIMITS)
    told = []
    compile_programs(spec, recipe, rank, lambda percent, message: told.append(percent))
    assert told[0] == 0 and told[-1] == 100 and told == sorted(told)
    save_file(fp8_checkpoint(model, spec), rank / WEIGHTS)
    return rank, model


@pytest.fixture(scope="module")
def program(engine):
    return open_program(engine[0])


@pytest.fixture(scope="module")
def sequences(engine):
    """Token ids of several lengths with the reference's logits for each."""
    generator = random.Random(1)
    made = []
    for length in (1, 31, 32, 33, 100, 180):
        ids = torch.tensor([generator.randrange(VOCAB) for _ in range(length)])
        with torch.no_grad():
            made.append((ids, engine[1](ids[None]).logits[0]))
    return made


def step_of(spans, sequences, tables):
    """The StepInput that runs, for each (sequence, start, count), those tokens."""
    positions = [torch.arange(start, start + count) for _, start, count in spans]
    table = torch.stack([tables[s] for s, _, _ in spans])
    counts = torch.tensor([count for _, _, count in spans])
    tokens = int(counts.sum())
    return StepInput(
        token_ids=torch.cat(
            [sequences[s][0][p] for (s, _, _), p in zip(spans, positions, strict=True)]
        ),
        positions=torch.cat(positions),
        slots=torch.cat([table[r, p // 32].long() * 32 + p % 32 for r, p in enumerate(positions)]),
        q_start=torch.cat((torch.zeros(1), counts.cumsum(0))).int(),
        block_tables=(table,),
        seq_lens=torch.tensor([start + count for _, start, count in spans], dtype=torch.int32),
        logits_rows=torch.arange(tokens),
    )


def run_ragged(program, sequences, seed):
    """All sequences to their ends, in steps of random mixes and chunks, over scattered blocks."""
    generator = random.Random(seed)
    blocks = [8] * len(sequences)
    program.allocate_kv(sum(blocks) + 1)
    order = torch.tensor(generator.sample(range(1, sum(blocks) + 1), sum(blocks)))
    tables = list(order.int().view(len(sequences), 8))
    done, found = [0] * len(sequences), [[] for _ in sequences]
    while any(d < len(ids) for d, (ids, _) in zip(done, sequences, strict=True)):
        left = [s for s, (ids, _) in enumerate(sequences) if done[s] < len(ids)]
        spans = []
        for s in generator.sample(left, generator.randint(1, len(left))):
            rest = len(sequences[s][0]) - done[s]
            spans.append((s, done[s], generator.choice([1, min(rest, 7), min(rest, 40)])))
        logits = program.run(step_of(spans, sequences, tables))
        for s, _, count in spans:
            found[s].append(logits[:count])
            logits, done[s] = logits[count:], done[s] + count
    return [torch.cat(rows) for rows in found]


def test_reference_has_clear_winners(sequences):
    top = torch.cat([logits for _, logits in sequences]).topk(2).values
    assert float((top[:, 0] - top[:, 1]).median()) > 1


def test_logits_equal_the_reference(program, sequences):
    for found, (_, expected) in zip(run_ragged(program, sequences, 5), sequences, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-3)
        assert torch.equal(found.argmax(-1), expected.argmax(-1))


def test_a_sequence_is_bitwise_the_same_in_any_mix(program, sequences):
    first = run_ragged(program, sequences, 7)
    for seed in (8, 9):
        for once, again in zip(first, run_ragged(program, sequences, seed), strict=True):
            assert torch.equal(once, again)
    for (ids, logits), once in zip(sequences, first, strict=True):
        alone = run_ragged(program, [(ids, logits)], 10)[0]
        assert torch.equal(alone, once)


def test_kv_bytes(program):
    assert program.kv_bytes_per_block == 3 * 2 * 2 * 32 * 16 * 4


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        ("token_ids", lambda x: x.int(), "token_ids: torch.int32"),
        ("token_ids", lambda x: x + VOCAB, "token_ids: .* within 0 to 210"),
        ("positions", lambda x: x[:-1], "positions: .*takes? torch.int64"),
        ("positions", lambda x: x + 256, "positions: .* within 0 to 255"),
        ("slots", lambda x: x + 9 * 32, "slots: .* within 0 to 287"),
        ("slots", lambda x: -x - 1, "slots: -"),
        ("seq_lens", lambda x: x + 256, "seq_lens: 288 tokens do not fit"),
        ("seq_lens", lambda x: x - 1, "seq_lens: a request has fewer"),
        ("q_start", lambda x: x + 1, "q_start: must rise from 0"),
        ("q_start", lambda x: x.long(), "q_start: torch.int64"),
        ("block_tables", lambda x: (x[0] + 9,), "block_tables: .* within 0 to 8"),
        ("block_tables", lambda x: x * 2, "block_tables: 2 tables for 1"),
        ("logits_rows", lambda x: x + 1, "logits_rows: .* within 0 to 31"),
    ],
)
def test_a_step_that_does_not_fit_is_refused(program, sequences, field, change, message):
    program.allocate_kv(9)
    step = step_of([(2, 0, 32)], sequences, [torch.arange(1, 9, dtype=torch.int32)] * 3)
    program.run(step)
    with pytest.raises(ValueError, match=message):
        program.run(replace(step, **{field: change(getattr(step, field))}))


@pytest.fixture
def copy(engine, tmp_path):
    shutil.copytree(engine[0], tmp_path / "rank0")
    return tmp_path / "rank0"


def test_missing_left_over_and_misshapen_weights_are_named(copy):
    tensors = load_file(copy / WEIGHTS)
    name = "transformer.layers.1.mlp.proj.weight"
    for change, message in (
        ({k: v for k, v in tensors.items() if k != name}, f"{name} is missing"),
        ({**tensors, "extra.weight": torch.zeros(2)}, "no program takes extra.weight"),
        ({**tensors, "transformer.ln_f.weight": torch.zeros(95)}, r"ln_f.weight has shape \[95\]"),
    ):
        save_file(change, copy / WEIGHTS)
        with pytest.raises(CorruptBundle, match=message):
            open_program(copy)


def test_a_damaged_signature_is_named(copy):
    data = json.loads((copy / PROGRAMS).read_text())
    data["layers"][1]["group"] = "none"
    (copy / PROGRAMS).write_text(json.dumps(data))
    with pytest.raises(CorruptBundle, match=r"layers\.1\.group"):
        open_program(copy)
    (copy / PROGRAMS).unlink()
    with pytest.raises(CorruptBundle, match=r"programs\.json cannot be read"):
        open_program(copy)


def test_a_missing_library_is_named(copy):
    (copy / "head.so").unlink()
    with pytest.raises(CorruptBundle, match=r"head\.so is missing"):
        open_program(copy)
