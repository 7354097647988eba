"""What the text of an answer must be, as the library writes it: JSON schema, regex or Lark."""

import json
from collections.abc import Mapping
from typing import Any

from llguidance import LLMatcher, LLParserLimits

# Characters of a schema, pattern or grammar.
LONGEST = 64 << 10
# Levels of a schema: the library goes down one call a level.
DEEPEST = 64
# A fifth of the library's own bounds and less: grammars that were made to reach them took 76 ms to
# compile and 16 ms of a step.
LIMITS = LLParserLimits(
    initial_lexer_fuel=500_000,
    max_grammar_size=100_000,
    max_lexer_states=50_000,
    step_lexer_fuel=50_000,
    step_max_items=20_000,
    verbose_errors=False,
)


class GrammarRefused(Exception):
    """A grammar that cannot be used; the message says why."""


def from_schema(schema: Mapping[str, Any]) -> str:
    """The grammar of JSON texts that fit a schema; GrammarRefused where it cannot be kept to.

    A keyword of JSON schema that the library does not keep to is refused; others mean nothing.
    """
    return _checked(_of_schema(schema))


def from_calls(frame: str, schema: Mapping[str, Any]) -> str:
    """The grammar of texts that hold JSON: `frame`, in Lark's form, has @calls where it stands."""
    (calls,) = json.loads(_of_schema(schema))["grammars"]
    return _checked(json.dumps({"grammars": [{"lark_grammar": frame}, calls | {"name": "calls"}]}))


def from_regex(pattern: str) -> str:
    """The grammar of texts that match a pattern as a whole (the syntax of Rust's regex)."""
    _check_length(pattern)
    return _checked(LLMatcher.grammar_from_regex(pattern))


def from_lark(text: str) -> str:
    """The grammar of a text in Lark's form, as far as the library has it; `start` is its root."""
    _check_length(text)
    return _checked(LLMatcher.grammar_from_lark(text))


def _of_schema(schema: Mapping[str, Any]) -> str:
    _check_depth(schema)
    text = json.dumps(schema)
    _check_length(text)
    # A schema may ask the library for options, `lenient` among them: they are not the client's.
    options: Any = {"lenient": False, "whitespace_flexible": False}
    options |= {"item_separator": ", ", "key_separator": ": "}
    return LLMatcher.grammar_from_json_schema(text, overrides=options)


def _check_length(text: str) -> None:
    if len(text) > LONGEST:
        raise GrammarRefused(f"it has {len(text)} characters; at most {LONGEST}")


def _check_depth(schema: Any) -> None:
    """Look through a schema level by level."""
    level, depth = [schema], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise GrammarRefused(f"it is nested more than {DEEPEST} levels deep")
        inner = [v.values() if isinstance(v, Mapping) else v for v in level]
        level = [v for values in inner for v in values if isinstance(v, Mapping | list)]


def _checked(grammar: str) -> str:
    wrong = LLMatcher.validate_grammar(grammar, limits=LIMITS)
    if wrong:
        raise GrammarRefused(wrong.splitlines()[0])
    return grammar
