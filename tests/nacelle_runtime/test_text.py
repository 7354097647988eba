"""Text as it comes: whole characters only, and never a part of a stop string."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from nacelle_runtime.frontends.answer_text import AnswerText
from nacelle_runtime.frontends.chat_template import ChatTemplate, TemplateRefused
from nacelle_runtime.frontends.detokenizer import Detokenizer
from nacelle_runtime.frontends.stop_strings import StopStrings
from nacelle_runtime.wire import Output


def byte_tokenizer():
    """Every byte is a token: characters are cut at every possible place."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def fallback_tokenizer():
    """Words with a leading mark, and bytes for what has no word: as in Llama 2 and Gemma."""
    words = ["<unk>", *[f"<0x{n:02X}>" for n in range(256)], "▁Hi", "▁there", "x"]
    tokenizer = Tokenizer(
        models.BPE({w: i for i, w in enumerate(words)}, [], byte_fallback=True, unk_token="<unk>")
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1),
        ]
    )
    return tokenizer


BYTES = byte_tokenizer()
FALLBACK = fallback_tokenizer()
HARD = "Grüße 你好世界 👩‍👩‍👧‍👦 🇩🇪 naïve ﷽ \u0301e\n\t"


def stream(tokenizer, ids):
    detokenizer = Detokenizer(lambda window: tokenizer.decode(window))
    parts = [detokenizer.add(i) for i in ids]
    return [*parts, detokenizer.rest()]


def test_no_piece_ever_holds_half_a_character():
    ids = BYTES.encode(HARD).ids
    assert len(ids) == len(HARD.encode())
    parts = stream(BYTES, ids)
    assert "".join(parts) == HARD
    assert not any("\ufffd" in part for part in parts)
    assert parts[0] == "G", "a plain character is given at once"


@given(st.text(alphabet=st.characters(exclude_characters="\ufffd", codec="utf-8")))
def test_the_pieces_of_any_text_join_to_it(text):
    assert "".join(stream(BYTES, BYTES.encode(text).ids)) == text


@given(st.lists(st.integers(0, 259), max_size=30).map(lambda ids: [257, *ids]))
def test_words_and_bytes_mixed_join_to_the_decoded_whole(ids):
    clean = [i for i in ids if i == 0 or i > 256 or i - 1 < 128]
    assert "".join(stream(FALLBACK, clean)) == FALLBACK.decode(clean)


def test_an_unfinished_character_at_the_end_is_marked():
    ids = BYTES.encode("a👍").ids[:-1]
    assert "".join(stream(BYTES, ids)) == "a\ufffd"


def test_bytes_that_are_no_text_are_not_held_for_ever():
    ids = [BYTES.token_to_id("ÿ")] * 40
    parts = stream(BYTES, ids)
    assert sum(bool(part) for part in parts) >= 4


def reference(text, stops):
    """The text up to the stop string that is complete first."""
    found = [(at + len(stop), at) for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(found)[1]] if found else text


@pytest.mark.parametrize(
    ("parts", "stops", "shown"),
    [
        (["Hello", " wor", "ld"], [], "Hello world"),
        (["Hello", "\n", "\n", "User:"], ["\n\n"], "Hello"),
        (["ab", "ab", "ac"], ["abac"], "ab"),
        (["one </", "s", "> two"], ["</s>", "zzz"], "one "),
        (["aaa", "aab"], ["aaaa", "b"], ""),
        (["stop", "!"], ["stop!!"], "stop!"),
    ],
)
def test_stop_strings(parts, stops, shown):
    watch, out = StopStrings(stops), ""
    for part in parts:
        out += watch.add(part)
        if watch.found:
            break
    assert out + ("" if watch.found else watch.rest()) == shown


@given(st.integers(0, 2**32))
def test_stop_strings_agree_with_a_search_of_the_whole(seed):
    walk = random.Random(seed)
    text = "".join(walk.choice("ab") for _ in range(30))
    stops = ["".join(walk.choice("ab") for _ in range(walk.randrange(3, 9))) for _ in range(3)]
    watch, out, at = StopStrings(stops), "", 0
    while at < len(text) and not watch.found:
        size = walk.randrange(1, 5)
        out += watch.add(text[at : at + size])
        at += size
        assert reference(text, stops).startswith(out), "a part of a stop string was shown"
    out += "" if watch.found else watch.rest()
    assert reference(text[:at], stops) == out


def outputs(text, finish="length"):
    ids = BYTES.encode(text).ids
    return [Output(1, i, None) for i in ids[:-1]] + [Output(1, ids[-1], finish)]


def test_an_answer_ends_at_a_stop_string_before_the_core_does():
    text = AnswerText(BYTES.decode, ["STOP"])
    piece = text.add([Output(1, i, None) for i in BYTES.encode("one ST").ids])
    assert (piece.text, piece.finish) == ("one ", None)
    piece = text.add([Output(1, i, None) for i in BYTES.encode("OP and more").ids])
    assert (piece.text, piece.tokens, piece.finish) == ("", 8, "stop")


def test_the_id_that_ends_an_answer_is_counted_and_not_shown():
    piece = AnswerText(BYTES.decode, []).add(outputs("Hi!", finish="stop"))
    assert (piece.text, piece.tokens, piece.finish) == ("Hi", 3, "stop")


def test_held_back_text_is_given_when_the_answer_ends():
    piece = AnswerText(BYTES.decode, ["\n\n"]).add(outputs("Hi\n"))
    assert (piece.text, piece.finish) == ("Hi\n", "length")


TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'bad' %}{{ raise_exception('no ' + m.role) }}"
    "{% endif %}<{{ m['role'] }}>{{ m['content'] }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def test_a_chat_template_renders_and_refuses():
    template = ChatTemplate(TEMPLATE, {"eos_token": "</s>"})
    assert template.render([{"role": "user", "content": "Hi"}]) == "<user>Hi</s>\n<assistant>"
    with pytest.raises(TemplateRefused, match="no bad"):
        template.render([{"role": "bad", "content": ""}])


def test_a_chat_template_cannot_reach_python():
    template = ChatTemplate("{{ messages.__class__.__mro__ }}", {})
    with pytest.raises(TemplateRefused):
        template.render([{"role": "user", "content": "Hi"}])
