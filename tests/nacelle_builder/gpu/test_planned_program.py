"""A tiny program whose prompts a library attends to, against transformers' model."""

from dataclasses import replace

import families
import pytest
import torch
from attention_double import AttentionDouble
from tiny_family import TinyFamily
from tiny_gpu import PER_TOKEN, Tiny
from tiny_llama import CONFIG, VOCAB

from nacelle_builder.compile.gpu.attention import attention_shape
from nacelle_builder.compile.gpu.flashinfer_library import attention_library
from nacelle_builder.gate.steps import Span, block_tables, step_input
from nacelle_engine.limits import Limits
from nacelle_engine.precision import Quantization
from nacelle_engine.program import beside, planned_attention

LIMITS = Limits(max_batch_size=4, max_input_len=300, max_seq_len=320, max_num_tokens=300)
# Two prompts above what graphs may hold; the rest of one beside a prompt; decode; few a request.
STEPS = (
    [(0, 0, 140), (1, 0, 135)],
    [(0, 140, 150), (2, 0, 110)],
    [(0, 290, 1), (1, 135, 1), (2, 110, 1)],
)
LENGTHS = [291, 136, 111]


class Planned:
    """Every kind's steps of prompts go to a library, which the formula stands for."""

    limits = LIMITS

    def libraries(self, spec, recipe):
        shapes = {kind.name: attention_shape(spec, kind, recipe) for kind in spec.kinds}
        self.opened = {}
        made = {name: attention_library(shape, "fa3") for name, shape in shapes.items()}
        names = {library.name: name for name, library in made.items()}

        def opened(library, rank, largest, workspace, window):
            assert library.file in {path.name for path in rank.iterdir()}
            name = names[library.name]
            assert (window or 0) == shapes[name].window
            self.opened[name] = AttentionDouble(library, shapes[name])
            return self.opened[name]

        self.monkeypatch.setattr(planned_attention, "Attention", opened)
        self.monkeypatch.setattr(planned_attention, "multiprocessors", lambda device: 1)
        return made


class PlannedTiny(Planned, Tiny):
    def __init__(self, monkeypatch, rank, quantization):
        self.monkeypatch = monkeypatch
        super().__init__(monkeypatch, rank, quantization, {**CONFIG, "head_dim": 64})


class PlannedFamily(Planned, TinyFamily):
    def __init__(self, monkeypatch, root):
        self.monkeypatch = monkeypatch
        fields = {**families._CASES["gemma2"][1], "head_dim": 64}
        monkeypatch.setitem(families._CASES, "gemma2-wide", ("Gemma2", fields))
        super().__init__(monkeypatch, root, "gemma2-wide")


def test_prompts_with_queries_in_fp8_are_the_models(monkeypatch, tmp_path):
    quantization = Quantization(algorithm=PER_TOKEN.algorithm, kv_cache="FP8")
    tiny = PlannedTiny(monkeypatch, tmp_path / "rank0", quantization)
    steps = [STEPS[0], [(0, 140, 1), (1, 135, 1)]]
    assert tiny.error([141, 136], steps) < tiny.bound(steps)
    assert len(tiny.opened["full"].plans) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kv_cache", ["NONE", "FP8"])
def test_prompts_are_planned_once_a_step_and_are_the_models(monkeypatch, tmp_path, kv_cache):
    quantization = Quantization(algorithm=PER_TOKEN.algorithm, kv_cache=kv_cache)
    tiny = PlannedTiny(monkeypatch, tmp_path / "rank0", quantization)
    assert ("q_codes" in {buffer.name for buffer in tiny.lowered.buffers}) == (kv_cache == "FP8")
    assert tiny.error(LENGTHS, STEPS) < tiny.bound(STEPS)
    first, second = tiny.opened["full"].plans
    assert first.q_start.tolist() == [0, 140, 275] and first.seq_lens.tolist() == [140, 135]
    assert second.q_start.tolist() == [0, 150, 260] and second.seq_lens.tolist() == [290, 110]


@pytest.mark.slow
def test_each_kind_of_layer_has_its_window_and_plan(monkeypatch, tmp_path):
    tiny = PlannedFamily(monkeypatch, tmp_path)
    assert tiny.error(LENGTHS, STEPS) < tiny.bound(STEPS)
    plans = [len(one.plans) for one in tiny.opened.values()]
    assert sorted(tiny.opened) == ["full", "sliding"] and plans == [2, 2]


@pytest.mark.slow
def test_steps_of_few_tokens_a_request_keep_the_kernel(monkeypatch, tmp_path):
    tiny = PlannedTiny(monkeypatch, tmp_path / "rank0", PER_TOKEN)
    steps = [[(0, 0, 150), (1, 0, 60), (2, 0, 60)]]
    assert tiny.error([150, 60, 60], steps) < tiny.bound(steps)
    assert not tiny.opened["full"].plans


class Many(PlannedTiny):
    limits = LIMITS.model_copy(update={"max_batch_size": 10})


@pytest.mark.slow
def test_answers_beside_long_prompts_are_a_decode_step_before_them(monkeypatch, tmp_path):
    monkeypatch.setattr(beside, "LEAST_ANSWERS", 8)
    tiny = Many(monkeypatch, tmp_path / "rank0", PER_TOKEN)
    program, answers, prompt = tiny.program, range(8), 270
    torch.manual_seed(5)
    ids = [torch.randint(VOCAB, (length,)).tolist() for length in (*[4] * 8, prompt)]
    tables = block_tables([len(tokens) for tokens in ids])
    began = [Span(one, 0, 3) for one in answers]
    ones, long = [Span(one, 3, 1) for one in answers], Span(8, 0, prompt)

    def run(spans):
        step = step_input(spans, ids, tables, 1)
        last = torch.tensor([span.count for span in spans]).cumsum(0) - 1
        return program.run(replace(step, logits_rows=last)).clone()

    program.allocate_kv(1 + sum(map(len, tables)))
    run(began)
    together = run([*ones, long])
    (plan,) = tiny.opened["full"].plans
    assert plan.q_start.tolist() == [0, prompt] and plan.seq_lens.tolist() == [prompt]
    program.allocate_kv(1 + sum(map(len, tables)))
    run(began)
    apart = torch.cat([run(ones), run([long])])
    assert torch.equal(together, apart)
