"""Requests of Triton field by field, and what a model repository holds; no server."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import EOS, make_tokenizer, seal

from nacelle_cli.main import main
from nacelle_engine.bundle import read_bundle
from nacelle_engine.result import parse_result
from nacelle_runtime.frontends.tokenizer import Tokenizer
from nacelle_runtime.frontends.triton.answers import TextAnswer, TokenAnswer
from nacelle_runtime.frontends.triton.contract import (
    NOT_BUILT,
    TEXT_INPUTS,
    TEXT_OUTPUTS,
    TOKEN_INPUTS,
    TOKEN_OUTPUTS,
)
from nacelle_runtime.frontends.triton.errors import Code, NotAnswered, refused
from nacelle_runtime.frontends.triton.generation import text_generation, token_generation
from nacelle_runtime.frontends.triton.parameters import Parameters
from nacelle_runtime.frontends.triton.repository import Repository
from nacelle_runtime.frontends.triton.request import TextRequest, TokenRequest, parse
from nacelle_runtime.request import Logprob
from nacelle_runtime.wire import Output, Ready

READY = Ready("k", 300, 400, 260, 1000, 1, 0.0, "")
TEXT = {"text_input": "Hi", "max_tokens": 5}
TOKENS = {"input_ids": [1, 2], "input_lengths": 2, "request_output_len": 5}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return read_bundle(seal(tmp_path_factory.mktemp("bundle") / "bundle"))


@pytest.fixture(scope="module")
def tokenizer(bundle):
    return Tokenizer(bundle.tokenizer)


def text(tokenizer, **fields):
    return text_generation(parse(TEXT | fields, TextRequest), tokenizer, READY, (EOS,))


def tokens(**fields):
    return token_generation(parse(TOKENS | fields, TokenRequest), (EOS,))


@pytest.mark.parametrize(
    ("fields", "drawn"),
    [
        ({}, (0.0, 0, 1.0)),
        ({"runtime_top_k": 1}, (0.0, 1, 1.0)),
        ({"runtime_top_k": 1, "temperature": 0.5, "runtime_top_p": 0.0}, (0.0, 1, 1.0)),
        ({"runtime_top_k": 4}, (1.0, 4, 1.0)),
        ({"runtime_top_p": 0.5}, (1.0, 0, 0.5)),
        ({"temperature": 0.5}, (0.5, 0, 1.0)),
        ({"temperature": 0.0, "runtime_top_k": 4}, (0.0, 4, 1.0)),
    ],
)
def test_what_is_not_said_means_what_it_means_in_tensorrt_llm(fields, drawn):
    sampling = tokens(**fields).sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == drawn


def test_a_seed_is_64_bits_as_the_core_has_them():
    assert tokens(seed=7).sampling.seed == tokens(random_seed=7).sampling.seed == 7
    assert tokens(seed=2**64 - 1).sampling.seed == -1
    assert tokens(seed=2**63).sampling.seed == -(2**63)
    assert tokens().sampling.seed != tokens().sampling.seed


def test_ends_and_lengths():
    assert tokens().ending.stop_ids == {EOS}
    assert tokens(end_id=3).ending.stop_ids == {3}
    assert tokens(min_length=2).ending.min_tokens == tokens(min_tokens=2).ending.min_tokens == 2


def test_words_of_ids_end_where_the_second_row_says():
    listed = tokens(bad_words_list=[1, 2, 3, 0, 2, 3, -1, -1]).sampling.bad_words
    assert listed == ((1, 2), (3,))
    assert tokens(bad_words_list=[]).sampling.bad_words == ()


def test_a_bias_of_words_adds_up(tokenizer):
    made = text(tokenizer, embedding_bias_words=["ab", "b", ""], embedding_bias_weights=[1, 2, 9])
    a, b = tokenizer.encode("ab", special=False)
    assert made.sampling.logit_bias == {a: 1, b: 3}


@pytest.mark.parametrize(
    ("kind", "fields", "code", "message"),
    [
        (TextRequest, {"max_tokens": 0}, "INVALID_ARG", "Expected `int` >= 1 - at `max_tokens`"),
        (TextRequest, {"stop_words": ["x" * 1025]}, "INVALID_ARG", "at `stop_words[0]`"),
        (TextRequest, {"seed": 1, "random_seed": 2}, "INVALID_ARG", "seed and random_seed say"),
        (TextRequest, {"embedding_bias_words": ["a"]}, "INVALID_ARG", "give one for each"),
        (TextRequest, {"length_penalty": 2.0}, "UNSUPPORTED", "length_penalty 2.0 is not supp"),
        (TextRequest, {"temperature": float("inf")}, "INVALID_ARG", "temperature must be finite"),
        (TokenRequest, {"runtime_top_k": -1}, "INVALID_ARG", "at `runtime_top_k`"),
        (TokenRequest, {"request_output_len": -1}, "INVALID_ARG", "at `request_output_len`"),
        (TokenRequest, {"input_lengths": 3}, "INVALID_ARG", "input_ids holds 2"),
        (TokenRequest, {"input_lengths": 0}, "INVALID_ARG", "input_lengths is 0"),
        (TokenRequest, {"bad_words_list": [1, 2, 2, 1]}, "INVALID_ARG", "second row must rise"),
        (TokenRequest, {"bad_words_list": [1, 5]}, "INVALID_ARG", "at most 1"),
        (TokenRequest, {"embedding_bias": [float("nan")]}, "INVALID_ARG", "embedding_bias must"),
        (TokenRequest, {"min_tokens": 6}, "INVALID_ARG", "above the 5 tokens"),
    ],
)
def test_what_cannot_be_is_named(tokenizer, kind, fields, code, message):
    with pytest.raises(NotAnswered) as found:
        text(tokenizer, **fields) if kind is TextRequest else tokens(**fields)
    assert found.value.code == code
    assert message in str(found.value)


@pytest.mark.parametrize("token", [-5, 0x110000])
def test_a_stop_word_of_no_id_is_named(token):
    with pytest.raises(NotAnswered, match="stop_words_list: token ids must lie in 0") as found:
        token_answer(stop_words_list=[7, token, 2, -1])
    assert found.value.code == Code.INVALID_ARG


def test_what_asks_for_nothing_is_let_through(tokenizer):
    for name, values in NOT_BUILT.items():
        inputs = {one.name for one in TEXT_INPUTS}
        for value in values:
            assert text(tokenizer, **{name: value}) if name in inputs else tokens(**{name: value})
    assert text(tokenizer, stop_words=[""], bad_words=[""]).sampling.bad_words == ()


def test_every_declared_input_is_read_or_refused():
    for inputs, kind in ((TEXT_INPUTS, TextRequest), (TOKEN_INPUTS, TokenRequest)):
        known = {*kind.__struct_encode_fields__, *NOT_BUILT}
        assert {one.name for one in inputs} <= known


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.just("x"), st.lists(st.integers())
)


@given(st.dictionaries(st.sampled_from([one.name for one in TOKEN_INPUTS]), VALUES))
@settings(deadline=None)
def test_any_values_make_a_request_or_are_refused(fields):
    try:
        made = token_generation(parse(TOKENS | fields, TokenRequest), (EOS,))
    except NotAnswered:
        return
    assert made.prompt
    assert 0 <= made.sampling.top_p <= 1


def output(token, finish=None):
    return Output(1, token, finish, Logprob(-float(token), 1, [], []))


def token_answer(**fields):
    request = parse(TOKENS | {"return_log_probs": True} | fields, TokenRequest)
    return TokenAnswer(request, with_input=False)


def test_log_probs_stay_with_their_ids_when_a_stop_word_holds_them_back():
    answer = token_answer(streaming=True, stop_words_list=[7, 8, 9, 3, -1, -1])
    assert answer.add([output(7)]) is None
    first = answer.add([output(6), output(7)])
    assert (first.values["output_ids"], first.values["output_log_probs"]) == ([7, 6], [-7, -6])
    last = answer.add([output(8), output(9), output(5)])
    assert (last.values["output_ids"], last.final) == ([], True)
    assert last.values["cum_log_probs"] == [-13]


def test_what_was_held_back_comes_when_the_answer_ends():
    answer = token_answer(stop_words_list=[7, 8, 2, -1])
    last = answer.add([output(3), output(7, "length")])
    assert last.values["output_ids"] == [3, 7]
    assert last.values["sequence_length"] == [2]


def test_a_stopped_answer_is_what_there_is():
    request = parse(TEXT, TextRequest)
    answer = TextAnswer(request, make_tokenizer().decode, with_input=True)
    assert answer.add([Output(1, 40, None)]) is None
    rest = answer.rest()
    assert (rest.values["text_output"], rest.final) == (["HiI"], True)
    assert rest.values.keys() == {one.name for one in TEXT_OUTPUTS}
    assert token_answer().rest().values.keys() == {one.name for one in TOKEN_OUTPUTS}


def test_a_full_queue_is_unavailable_and_a_wrong_request_invalid():
    assert refused("queue_full", "m").code == Code.UNAVAILABLE
    assert refused("invalid", "m").code == Code.INVALID_ARG


def test_a_repository_holds_the_three_models(tmp_path, bundle):
    Repository(bundle, "/run/core.sock", ("/packages",)).write(tmp_path / "r")
    files = {p.relative_to(tmp_path / "r").as_posix() for p in (tmp_path / "r").rglob("*.*")}
    tokenizer = ("1/tokenizer/tokenizer.json", "1/tokenizer/tokenizer_config.json")
    expected = {f"{m}/{f}" for m in ("ensemble", "tensorrt_llm_bls") for f in tokenizer}
    models = ("ensemble", "tensorrt_llm_bls", "tensorrt_llm")
    expected |= {f"{m}/{f}" for m in models for f in ("config.pbtxt", "1/model.py")}
    assert files == expected
    config = (tmp_path / "r" / "tensorrt_llm" / "config.pbtxt").read_text()
    assert "model_transaction_policy { decoupled: true }" in config
    assert (
        '{ name: "stop_words_list", data_type: TYPE_INT32, dims: [ 2, -1 ], optional: true }'
        in (config)
    )
    assert (
        "sys.path[:0] = ['/packages']"
        in (tmp_path / "r" / "ensemble" / "1" / "model.py").read_text()
    )


def test_parameters_come_back_as_they_were():
    made = Parameters(core_socket='a "b" ü', engine_key="k", model_name="m", end_ids=(1, 2))
    config = {k: {"string_value": v} for k, v in made.as_strings().items()}
    assert Parameters.read({"parameters": json.loads(json.dumps(config))}) == made


def test_a_folder_that_holds_something_is_left_alone(tmp_path, bundle, capsys):
    (tmp_path / "mine").write_text("")
    code = main(["triton", str(bundle.root), str(tmp_path), "--core-socket", "/run/core.sock"])
    assert code == 65
    assert "is not an empty folder: give another" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("found", ["nothing", "a whole one", "half of one"])
def test_a_repository_is_written_anew_where_that_is_said(tmp_path, bundle, found):
    Repository(bundle, "/run/core.sock").write(tmp_path / "expected")
    folder = tmp_path / "r"
    if found == "a whole one":
        Repository(bundle, "/old.sock", ("/old",)).write(folder)
    elif found == "half of one":
        (folder / "ensemble" / "1").mkdir(parents=True)
    command = ["triton", str(bundle.root), str(folder), "--core-socket", "/run/core.sock"]
    assert main([*command, "--replace"]) == 0
    assert contents(folder) == contents(tmp_path / "expected")


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_not_ours_is_not_replaced(tmp_path, bundle, capsys):
    log = tmp_path / "log"
    folder = tmp_path / "r"
    (folder / "mine").mkdir(parents=True)
    command = ["triton", str(bundle.root), str(folder), "--core-socket", "/run/core.sock"]
    assert main([*command, "--replace", "--termination-log", str(log)]) == 65
    assert [p.name for p in folder.iterdir()] == ["mine"]
    failure = parse_result(log.read_text()).failure
    assert (failure.code, "is not an empty folder" in failure.message) == ("InvalidRequest", True)


def test_how_long_loading_waits_for_the_core_is_the_commands_to_say(tmp_path, bundle):
    command = ["triton", str(bundle.root), str(tmp_path / "r"), "--core-socket", "/run/core.sock"]
    assert main([*command, "--core-wait-seconds", "7000"]) == 0
    config = (tmp_path / "r" / "tensorrt_llm" / "config.pbtxt").read_text()
    assert '{ key: "core_wait_seconds", value: { string_value: "7000.0" } }' in config
