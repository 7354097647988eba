"""Grammars over the tiny model: what is drawn is the best allowed id, and the text always fits."""

import json
import re

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_bundle import make_tokenizer
from tiny_program import VOCABULARY, TinyProgram

from nacelle_runtime.batch import Draw
from nacelle_runtime.frontends.openai.call_form import whole_calls
from nacelle_runtime.frontends.openai.tool_grammar import MOST_CALLS
from nacelle_runtime.frontends.openai.tool_grammar import schema as call_schema
from nacelle_runtime.frontends.openai.tools import Function, Offer
from nacelle_runtime.frontends.tool_forms.forced import Forced
from nacelle_runtime.kv_blocks import BlockPool
from nacelle_runtime.pipeline import Pipeline
from nacelle_runtime.request import Ending, Request, Sampling
from nacelle_runtime.runner import Runner
from nacelle_runtime.sampling.sampler import draw_tokens
from nacelle_runtime.scheduler.bounds import Bounds, Policy
from nacelle_runtime.scheduler.refusals import refusal
from nacelle_runtime.scheduler.scheduler import Scheduler
from nacelle_runtime.structured.compiler import Compiler
from nacelle_runtime.structured.grammar import GrammarRefused, from_lark, from_regex, from_schema
from nacelle_runtime.structured.mask import mask, unpack

# The special token "</s>" and one that ends an answer too.
END, OTHER_END = 257, 258
GREEDY = Sampling(temperature=0)
TOKENIZER = make_tokenizer()


@pytest.fixture(scope="module")
def compiler(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    TOKENIZER.save(str(folder / "tokenizer.json"))
    return Compiler(folder, VOCABULARY, (END, OTHER_END))


def test_a_decoder_that_does_not_spell_tokens_is_refused(tmp_path):
    spoiled = json.loads(TOKENIZER.to_str())
    spelled = spoiled["decoder"]
    assert spelled["type"] == "ByteLevel"
    # transformers 5.17 wrote this for tokenizers that it took out of GGUF files.
    spoiled["decoder"] = {
        "type": "Sequence",
        "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}, spelled],
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(spoiled))
    one = Compiler(tmp_path, VOCABULARY, (END,)).matcher(from_regex("a"))
    with pytest.raises(GrammarRefused, match="does not say how its tokens are spelled"):
        one.result(timeout=30)


def matcher(compiler, grammar):
    return compiler.matcher(grammar).result(timeout=30)


def ids(text):
    return TOKENIZER.encode(text, add_special_tokens=False).ids


def allowed(one):
    bits = torch.frombuffer(bytearray(one.allowed()), dtype=torch.int32)[None]
    return unpack(bits, VOCABULARY)[0]


def answers(requests, depth=2, blocks=40, policy=Policy.GUARANTEED_NO_EVICT):
    """The answers of requests that run together, by number."""
    program = TinyProgram()
    program.allocate_kv(blocks)
    bounds = Bounds(8, 64, 64, 100, 400, VOCABULARY, 8, 32, policy)
    scheduler = Scheduler(bounds, BlockPool(blocks), None)
    pipeline = Pipeline(scheduler, Runner(program.run, 1, 32), depth)
    for request in requests:
        assert scheduler.submit(request) is None
    found = {request.id[1]: [] for request in requests}
    finishes = {}
    while not scheduler.idle:
        ended = pipeline.advance()
        scheduler.check()
        for item in ended.produced if ended else ():
            found[item.request[1]].append(item.token)
            finishes[item.request[1]] = item.finish
    return found, finishes, scheduler.preemptions


def request(number, one=None, max_tokens=120, sampling=GREEDY):
    ending = Ending(max_tokens, frozenset({END, OTHER_END}))
    return Request((0, number), [40, 41, 42 + number], sampling, ending, matcher=one)


def text(tokens):
    return TOKENIZER.decode(tokens)


def test_a_drawn_id_is_the_best_of_those_that_are_allowed(compiler):
    logits = torch.randn(3, VOCABULARY, generator=torch.Generator().manual_seed(1))
    one = matcher(compiler, from_regex("[a-f]+x"))
    may = allowed(one)
    assert set(may.nonzero()[:, 0].tolist()) == {i for c in "abcdef" for i in ids(c)}
    expected = logits.argmax(dim=-1)
    expected[1] = int(logits[1].masked_fill(~may, -torch.inf).argmax())
    draws = [Draw(GREEDY, 0, frozenset(), None, m) for m in (None, one, None)]
    assert draw_tokens(logits.clone(), draws).tolist() == expected.tolist()


def test_the_ids_that_end_are_allowed_only_where_the_grammar_accepts(compiler):
    one = matcher(compiler, from_regex("ab?"))
    assert not allowed(one)[[END, OTHER_END]].any()
    one.advance(*ids("a"))
    assert set(allowed(one).nonzero()[:, 0].tolist()) == {END, OTHER_END, *ids("b")}
    one.advance(*ids("b"))
    assert set(allowed(one).nonzero()[:, 0].tolist()) == {END, OTHER_END}


@pytest.mark.parametrize("vocabulary", [260, 287, 288, 289])
def test_rows_that_are_complete_and_rows_that_go_on_share_a_step(tmp_path, vocabulary):
    TOKENIZER.save(str(tmp_path / "tokenizer.json"))
    compiler = Compiler(tmp_path, vocabulary, (END,))
    over, on = (matcher(compiler, from_regex("ab")) for _ in range(2))
    for token in ids("ab"):
        over.advance(token)
    draws = [Draw(GREEDY, 0, frozenset(), matcher=one) for one in (over, on)]
    logits = torch.zeros(2, vocabulary)
    mask(logits, draws)
    left = [row.isfinite().nonzero().flatten().tolist() for row in logits]
    assert left == [[END], ids("a")]


def test_a_second_answer_starts_at_the_beginning(compiler):
    grammar = from_regex("xy")
    first = matcher(compiler, grammar)
    first.advance(*ids("x"))
    assert allowed(matcher(compiler, grammar))[ids("x")].all()
    assert allowed(first)[ids("y")].all()


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(
    "sampling",
    [
        GREEDY,
        Sampling(seed=3),
        Sampling(temperature=2.0, seed=5, top_p=0.9),
        Sampling(seed=4, top_k=3, min_p=0.01),
        Sampling(seed=1, presence_penalty=1.5, repetition_penalty=1.3, logit_bias={7: 50.0}),
    ],
)
def test_a_text_matches_its_regex_however_it_is_drawn(compiler, depth, sampling):
    pattern = r"[0-9]{3}-[a-z]{2,9}(!|\?)"
    one = matcher(compiler, from_regex(pattern))
    found, finishes, _ = answers([request(1, one, sampling=sampling)], depth)
    assert re.fullmatch(pattern, text(found[1]))
    assert finishes[1] == "stop"


def test_a_text_keeps_to_a_grammar_with_a_recursive_rule(compiler):
    one = matcher(compiler, from_lark('start: pair "."\npair: "(" pair? ")"\n'))
    found, _, _ = answers([request(1, one, 60)])
    assert re.fullmatch(r"(\(+)(\)+)\.", text(found[1]))
    assert text(found[1]).count("(") == text(found[1]).count(")")


def test_who_runs_beside_a_grammar_keeps_every_token(compiler):
    plain, _, _ = answers([request(1), request(3)])
    one = matcher(compiler, from_regex("[a-z]{70}"))
    mixed, _, _ = answers([request(1), request(2, one), request(3)])
    assert [mixed[1], mixed[3]] == [plain[1], plain[3]]
    alone, _, _ = answers([request(2, matcher(compiler, from_regex("[a-z]{70}")))], depth=1)
    assert mixed[2] == alone[2]


def test_a_request_put_back_goes_on_where_its_grammar_stood(compiler):
    def run(blocks):
        made = [
            request(n, matcher(compiler, from_regex("[a-z]{50}[0-9]{30}[A-Z]{20}")))
            for n in range(3)
        ]
        return answers(made, blocks=blocks, policy=Policy.MAX_UTILIZATION)

    expected, _, _ = run(40)
    found, _, preemptions = run(8)
    assert preemptions > 0
    assert found == expected


def test_an_answer_cut_by_its_length_says_so(compiler):
    one = matcher(compiler, from_regex("[a-z]{70}"))
    found, finishes, _ = answers([request(1, one, 9)])
    assert (len(found[1]), finishes[1]) == (9, "length")


LEAVES = st.sampled_from(
    [
        {"type": "integer", "minimum": -20, "maximum": 300},
        {"type": "boolean"},
        {"type": "null"},
        {"enum": ["red", 'a"b', 3]},
        {"const": {"a": [1]}},
        {"type": "string", "maxLength": 5, "pattern": "^[a-z]*$"},
        {"type": "string", "maxLength": 4},
    ]
)


def objects(inner):
    def made(properties):
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties)[::2],
            "additionalProperties": False,
        }

    return st.dictionaries(st.sampled_from(["a", "bc", "d e"]), inner, max_size=3).map(made)


def arrays(inner):
    return inner.map(lambda items: {"type": "array", "items": items, "maxItems": 2})


KINDS = {"string": str, "integer": int, "boolean": bool, "null": type(None)}


def fits(value, schema):
    """Whether a value fits, for the keywords that the schemas above have."""
    if "enum" in schema or "const" in schema:
        return value in schema.get("enum", [schema.get("const")])
    kind = schema["type"]
    if kind == "array":
        return len(value) <= schema["maxItems"] and all(fits(v, schema["items"]) for v in value)
    if kind == "object":
        inner = schema["properties"]
        known = {*schema["required"]} <= value.keys() <= inner.keys()
        return known and all(fits(v, inner[name]) for name, v in value.items())
    if type(value) is not KINDS[kind]:
        return False
    if kind == "integer":
        return schema["minimum"] <= value <= schema["maximum"]
    if kind == "string":
        pattern = schema.get("pattern", "")
        return len(value) <= schema["maxLength"] and re.search(pattern, value) is not None
    return True


SCHEMAS = st.recursive(LEAVES, lambda s: st.one_of(objects(s), arrays(s)), max_leaves=4)


@pytest.mark.slow
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(schema=SCHEMAS, seed=st.integers(0, 1000))
def test_an_answer_always_fits_its_schema(compiler, schema, seed):
    one = matcher(compiler, from_schema(schema))
    found, finishes, _ = answers([request(1, one, 380, Sampling(seed=seed))])
    assert finishes[1] == "stop"
    assert fits(json.loads(text(found[1])), schema)


@pytest.mark.slow
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    parameters=st.lists(objects(SCHEMAS), min_size=1, max_size=3),
    several=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_a_forced_answer_calls_functions_with_arguments_that_fit(
    compiler, parameters, several, seed
):
    functions = {i: Function(f"f-{i}", None, schema) for i, schema in enumerate(parameters)}
    grammar = from_schema(call_schema(Offer("required", (), functions, several)))
    one = matcher(compiler, grammar)
    found, finishes, _ = answers([request(1, one, 390, Sampling(seed=seed))])
    forced = Forced(named=False)
    said = [forced.add(text([token])) for token in found[1]]
    calls = whole_calls([part for one in said for part in one.calls])
    cut = finishes[1] == "length"
    assert forced.finish(finishes[1]) == ("length" if cut else "tool_calls")
    assert 1 <= len(calls) <= (MOST_CALLS if several else 1)
    for call in calls[:-1] if cut else calls:
        index = int(call["function"]["name"].removeprefix("f-"))
        assert fits(json.loads(call["function"]["arguments"]), parameters[index])


def test_what_does_not_compile_over_the_vocabulary_is_refused(compiler):
    with pytest.raises(GrammarRefused):
        matcher(compiler, '{"grammars": [{"regex": "("}]}')


def test_an_answer_whose_grammar_takes_too_much_is_cut(compiler):
    parts = " & ".join(f"/(.*{letter}.*){{20}}/" for letter in "abcdefgh")
    one = matcher(compiler, from_lark(f"start: A\nA: {parts}"))
    _, finishes, _ = answers([request(1, one)])
    assert one.failed
    assert finishes[1] == "length"


@pytest.mark.parametrize(
    ("ending", "sampling", "field"),
    [({"min_tokens": 2}, {}, "min_tokens"), ({}, {"bad_words": ((7,),)}, "bad_words")],
)
def test_what_could_leave_no_id_is_refused(compiler, ending, sampling, field):
    made = Request(
        (0, 1),
        [40],
        Sampling(**sampling),
        Ending(9, **ending),
        matcher=matcher(compiler, from_regex("a")),
    )
    assert field in refusal(made, Bounds(8, 64, 64, 100, 400, VOCABULARY, 8, 32)).message
