"""`nacelle report`: one page with a bundle's facts, for either kind of target."""

import json
from html.parser import HTMLParser

import pytest
from page_bundles import LIMITS, cpu_bundle, gpu_bundle

from nacelle_cli.main import main
from nacelle_cli.page.facts import Device, read_facts
from nacelle_cli.page.figures import microseconds, size, span
from nacelle_cli.page.page import page
from nacelle_cli.page.tactics import read_tactics
from nacelle_engine.build_memory import BUILD, BuildMemory
from nacelle_engine.errors import CorruptBundle, InvalidRequest
from nacelle_engine.program.launch import (
    LAUNCHES,
    Binding,
    PagedAttentionLaunch,
    read_launches,
)
from nacelle_engine.program.memory import Memory, Part, kv_bytes_per_token, weight_bytes
from nacelle_engine.program.signature import TACTICS, read_signature

VOID = {"meta", "wbr", "rect"}


class Page(HTMLParser):
    """Every element closed in order, every attribute seen, and the text between them."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return "".join(self.words)


@pytest.fixture(params=[gpu_bundle, cpu_bundle], ids=["gpu", "cpu"])
def either(request, tmp_path):
    return request.param(tmp_path / "bundle", name="<script>alert(1)</script>&")


def test_a_page_is_whole_and_needs_nothing_else(either):
    found = Page(page(read_facts(either, Device())))
    assert not {"script", "link", "img", "iframe"} & set(found.tags)
    assert not [name for name, _ in found.attributes if name in ("src", "href")]
    assert "url(" not in found.text and "@import" not in found.text


def test_what_a_bundle_says_stays_text(either):
    made = page(read_facts(either, Device()))
    assert "<script" not in made
    assert "<script>alert(1)</script>&" in Page(made).text


def test_every_section_has_a_heading_that_names_it(either):
    found = Page(page(read_facts(either, Device())))
    names = [value for name, value in found.attributes if name == "aria-labelledby"]
    ids = [value for name, value in found.attributes if name == "id"]
    assert names == ids and len(set(ids)) == len(ids) == 10


def test_a_gpu_page_tells_launches_floor_and_memory(tmp_path):
    root = gpu_bundle(tmp_path / "bundle")
    found = Page(page(read_facts(root, Device(memory_gb=1, bandwidth_gb_s=1000)))).text
    assert "NVIDIA-H200" in found and "132" in found
    assert "timed on a <GPU>" in found
    assert "At 1,000 GB/s that takes" in found and "fit into 1 GB" in found
    assert "9 files, each in the manifest" in found


def test_launches_of_a_layer_and_of_a_step(tmp_path):
    facts = read_facts(gpu_bundle(tmp_path / "bundle"), Device())
    one = facts.steps[0]
    assert (one.first, one.last, one.decode, one.numerics) == (1, 1, True, "fused")
    assert one.layer == {"layer.full": 5} and len(one.launches["layer.full"]) == 5
    # embed, two layers, head.
    assert one.step == 1 + 2 * 5 + 1
    assert facts.steps[-1].last == LIMITS.max_num_tokens


def test_the_chosen_and_the_next_best(tmp_path):
    choices = read_tactics(gpu_bundle(tmp_path / "bundle") / "rank0").choices
    qkv = next(choice for choice in choices if choice.place == "qkv")
    assert (qkv.first, qkv.last) == (1, 1)
    assert qkv.time.name == qkv.chosen and qkv.time.microseconds == 10
    assert qkv.runner_up.microseconds == 11 and qkv.runner_up.name != qkv.chosen


def test_a_library_for_prompts_is_told(tmp_path):
    root = gpu_bundle(tmp_path / "bundle")
    path = root / "rank0" / TACTICS
    told = {"attention": "our own kernels alone: cu13 lacks nvidia-cuda-nvcc"}
    path.write_text(json.dumps(json.loads(path.read_bytes()) | told))
    launches = read_launches(root / "rank0")
    binding = Binding(source="buffer", name="q")
    library = PagedAttentionLaunch(
        library="attention-fa3-d128", q=binding, kv=binding, block_table=binding, out=binding,
        scale=1.0,
    )  # fmt: skip
    prompts = launches.steps[-1].model_copy(
        update={
            "min_tokens": 257,
            "max_tokens": 300,
            "tokens_a_request": 128,
            "kinds": {"layer.full": (library,)},
        }
    )
    made = launches.model_copy(update={"steps": (*launches.steps, prompts)})
    (root / "rank0" / LAUNCHES).write_text(made.model_dump_json(by_alias=True))
    found = Page(page(read_facts(root, Device()))).text
    assert "Attention over prompts: our own kernels alone: cu13 lacks nvidia-cuda-nvcc." in found
    assert "at least 128 tokens a request in the mean" in found
    assert "attention-fa3-d128" in found


def test_untimed_tactics_have_no_times(tmp_path):
    root = gpu_bundle(tmp_path / "bundle", timed=False)
    choice = read_tactics(root / "rank0").choices[0]
    assert choice.time is None and choice.runner_up is None
    assert "next best" not in Page(page(read_facts(root, Device()))).text


def test_a_cpu_has_a_row_for_each_number_of_tokens_timed(tmp_path):
    choices = read_tactics(cpu_bundle(tmp_path / "bundle") / "rank0").choices
    qkv = [(c.first, c.last, c.chosen) for c in choices if c.place == "qkv"]
    assert qkv == [(1, 15, "fused"), (16, None, "aten")]
    assert choices[0].time.microseconds == 10 and choices[0].runner_up.microseconds == 101
    assert choices[1].time.microseconds == 116 and choices[1].runner_up.microseconds == 160


def test_a_cpu_without_timings_has_a_row_for_each_range(tmp_path):
    choices = read_tactics(cpu_bundle(tmp_path / "bundle", timed=False) / "rank0").choices
    assert [(c.first, c.last, c.chosen, c.times) for c in choices if c.place == "down"] == [
        (1, 15, "fused", ()),
        (16, None, "aten", ()),
    ]


def test_a_cpu_page_lists_libraries(tmp_path):
    found = Page(page(read_facts(cpu_bundle(tmp_path / "bundle"), Device()))).text
    assert "layer.full.so" in found and "multiprocessors" not in found


def test_what_the_build_held_is_told_where_it_was_recorded(tmp_path):
    root = gpu_bundle(tmp_path / "bundle")
    built = "Built at 2026-01-01T00:00:00Z by nacelle 0, in 64 s."
    found = Page(page(read_facts(root, Device()))).text
    assert built in found and "Its processes held" not in found
    (root / BUILD).write_text(BuildMemory(peak_mib=20_000).model_dump_json(by_alias=True))
    found = Page(page(read_facts(root, Device()))).text
    assert f"{built} Its processes held 21.0 GB at most." in found


def test_quality_that_was_not_measured_is_said(tmp_path):
    root = gpu_bundle(tmp_path / "bundle", accuracy=None)
    assert "Quality was not measured." in Page(page(read_facts(root, Device()))).text


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"reason": "r", "places": [{}]}', '"places"'])
def test_tactics_that_are_none_are_refused(tmp_path, text):
    (tmp_path / TACTICS).write_text(text)
    with pytest.raises(CorruptBundle, match=r"tactics\.json"):
        read_tactics(tmp_path)


def test_weights_are_counted_by_what_the_programs_take(tmp_path):
    signature = read_signature(gpu_bundle(tmp_path / "bundle") / "rank0")
    linears = 256 * 64 + 64 * 128 + 192 * 64 + 64 * 96
    layer = linears + 4 * (256 + 64 + 192 + 64) + 2 * (64 + 64)
    # The first norm after a layer, which its last launch applies: in memory it is there already.
    following = 2 * 64
    head = 2 * (64 + 97 * 64)
    assert signature.weight_bytes_per_step == 2 * (layer + following) + head
    assert weight_bytes(signature) == 2 * layer + head + 2 * 97 * 64


def test_a_tied_head_takes_its_memory_once(tmp_path):
    signature = read_signature(gpu_bundle(tmp_path / "bundle") / "rank0")
    norm, lm_head = signature.head.weights
    tied = lm_head.model_copy(update={"sources": signature.embed.weights[0].sources})
    head = signature.head.model_copy(update={"weights": (norm, tied)})
    shared = signature.model_copy(update={"head": head})
    assert weight_bytes(signature) - weight_bytes(shared) == lm_head.nbytes


def test_the_cache_costs_what_all_layers_keep(tmp_path):
    signature = read_signature(gpu_bundle(tmp_path / "bundle") / "rank0")
    assert kv_bytes_per_token(signature) == 2 * (2 * 2 * 32) * 2


def test_memory_left_holds_whole_blocks_without_the_padding_block():
    memory = Memory((Part("weights", 1000),), kv_bytes_per_token=10, tokens_per_block=32)
    assert memory.tokens_that_fit(1000 + 3 * 320 + 319) == 64
    assert memory.tokens_that_fit(1000) == 0


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_device_without_sense_is_refused(value):
    with pytest.raises(InvalidRequest, match="--memory-gb"):
        Device(memory_gb=value)


def test_figures():
    assert [size(n) for n in (0, 999, 1536, 12_345_678, 8.03e9)] == [
        "0 bytes",
        "999 bytes",
        "1.54 kB",
        "12.3 MB",
        "8.03 GB",
    ]
    assert [microseconds(n) for n in (5.236, 31.2, 999.4, 2106)] == [
        "5.24 us",
        "31.2 us",
        "999 us",
        "2.11 ms",
    ]
    assert [span(1, 1), span(3, 1024), span(16, None)] == ["1", "3 to 1,024", "16 and more"]


def test_the_command_writes_a_file_or_prints(tmp_path, capsys):
    root = gpu_bundle(tmp_path / "bundle")
    assert main(["report", str(root), "--out", str(tmp_path / "page.html")]) == 0
    assert main(["report", str(root)]) == 0
    assert capsys.readouterr().out == (tmp_path / "page.html").read_text()


def test_a_page_that_cannot_be_written_is_said(tmp_path, capsys):
    root = gpu_bundle(tmp_path / "bundle")
    assert main(["report", str(root), "--out", str(tmp_path / "no" / "page.html")]) == 65
    assert "--out" in capsys.readouterr().err
