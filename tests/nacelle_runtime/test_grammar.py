"""Grammars that are refused, each with its reason."""

import re

import pytest

from nacelle_runtime.structured.grammar import (
    DEEPEST,
    LONGEST,
    GrammarRefused,
    from_lark,
    from_regex,
    from_schema,
)


def nested(levels):
    schema = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("make", "given", "words"),
    [
        (from_schema, {"type": "nonsense"}, "nonsense"),
        (from_schema, {"type": "array", "uniqueItems": True}, "uniqueItems"),
        (from_schema, {"uniqueItems": True, "x-guidance": {"lenient": True}}, "uniqueItems"),
        (from_schema, {"$ref": "https://example.com/schema"}, "example.com"),
        (from_schema, {"enum": ["x" * LONGEST]}, f"at most {LONGEST}"),
        (from_schema, nested(DEEPEST), f"more than {DEEPEST} levels"),
        (from_regex, "(", "regex"),
        (from_regex, "(?=a)b", "regex"),
        (from_regex, "x" * (LONGEST + 1), f"at most {LONGEST}"),
        (from_lark, "start: missing", "missing"),
    ],
)
def test_what_cannot_be_kept_to_is_refused_with_its_reason(make, given, words):
    with pytest.raises(GrammarRefused, match=re.escape(words)):
        make(given)
