"""The launch list as data: which range a step is of, and where a plan of the host may stand."""

import pytest
from pydantic import ValidationError

from nacelle_engine.errors import CorruptBundle
from nacelle_engine.program.attention_library import AttentionLibrary, BuiltLibrary
from nacelle_engine.program.launch import (
    CAPTURED_TOKENS,
    LAUNCHES,
    Binding,
    HeadRange,
    LaunchList,
    PagedAttentionLaunch,
    StepRange,
    read_launches,
)

ATTENTION = PagedAttentionLaunch(
    library="fa3",
    q=Binding(source="buffer", name="q_codes"),
    kv=Binding(source="state", name="kv"),
    block_table=Binding(source="input", name="block_table"),
    out=Binding(source="buffer", name="attention"),
    kv_scales=Binding(source="weight", name="kv_scales"),
    scale=0.125,
    soft_cap=30.0,
    window=512,
)
LIBRARY = AttentionLibrary(
    name="fa3", file="fa3.so", algorithm="fa3", head_dim=64, group_size=4, kv_dtype="float8_e4m3fn"
)
ABOVE = CAPTURED_TOKENS + 1


def step(first=ABOVE, last=8192, launches=(ATTENTION,), **changes):
    kinds = {"layer.full": launches}
    fields = {"decode": False, "numerics": "quantised", "embed": (), "kinds": kinds} | changes
    return StepRange(min_tokens=first, max_tokens=last, **fields)


def launch_list():
    return LaunchList(
        kernels=(),
        libraries=(BuiltLibrary(library=LIBRARY, abi="cudart13-tvm_ffi0.1"),),
        buffers=(),
        steps=(step(tokens_a_request=128), step(1, launches=())),
        heads=(HeadRange(min_rows=1, max_rows=8192, launches=()),),
    )


def test_a_library_and_its_launch_survive_json():
    made = launch_list()
    again = LaunchList.model_validate_json(made.model_dump_json(by_alias=True))
    assert again == made
    assert again.steps[0].kinds["layer.full"] == (ATTENTION,)


@pytest.mark.parametrize(
    ("tokens", "requests", "index"),
    [
        (ABOVE, 2, 0),
        (ABOVE, 3, 1),
        (256, 1, 1),
        (8192, 64, 0),
        (8192, 65, 1),
        (2048 + 127, 128, 1),
        (8192, None, 1),
    ],
)
def test_steps_of_long_stretches_have_their_own_ranges(tokens, requests, index):
    assert launch_list().step_index(tokens, False, requests) == index


@pytest.mark.parametrize(
    "changes", [{"first": CAPTURED_TOKENS}, {"first": 1}, {"decode": True}], ids=str
)
def test_what_a_graph_may_hold_has_no_plan_of_the_host(changes):
    with pytest.raises(ValidationError, match=r"paged_attention in steps of .* above 256 tokens"):
        step(**changes)
    step(**{**changes, "launches": ()})


def test_a_bundle_whose_graph_would_hold_one_is_corrupt(tmp_path):
    text = launch_list().model_dump_json(by_alias=True)
    (tmp_path / LAUNCHES).write_text(text.replace(f'"minTokens":{ABOVE}', '"minTokens":8'))
    with pytest.raises(CorruptBundle, match=r"launches\.json: field steps\.0: .*paged_attention"):
        read_launches(tmp_path)
