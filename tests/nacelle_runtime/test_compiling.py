"""Requests that wait for their grammar: taken when it is ready, refused or cancelled before."""

from concurrent.futures import Future

import pytest

from nacelle_runtime.request import Ending, Sampling
from nacelle_runtime.structured import compiling as module
from nacelle_runtime.structured.compiling import Compiling
from nacelle_runtime.structured.grammar import GrammarRefused
from nacelle_runtime.wire import Submit


class ByHand:
    """A compiler whose futures the test ends."""

    def __init__(self):
        self.future = Future()

    def matcher(self, grammar):
        return self.future


def waiting():
    compiler = ByHand()
    compiling = Compiling(compiler)
    compiling.add(3, Submit(7, [1], Sampling(), Ending(2), 0, None, "", 0.0, "g"), "g")
    assert compiling.take() == []
    assert compiling.requests == [(3, 7)]
    return compiling, compiler.future


def test_a_request_is_taken_once_its_grammar_is_ready():
    compiling, future = waiting()
    future.set_result("matcher")
    (one,) = compiling.take()
    assert (one.connection, one.submit.number, one.matcher) == (3, 7, "matcher")
    assert not compiling


@pytest.mark.parametrize(
    ("error", "words"), [(GrammarRefused("too big"), "too big"), (OSError("x"), "not be compiled")]
)
def test_a_grammar_that_fails_refuses_its_request_alone(error, words):
    compiling, future = waiting()
    future.set_exception(error)
    (one,) = compiling.take()
    assert one.matcher is None
    assert words in one.refusal


def test_a_grammar_that_is_late_is_refused(monkeypatch):
    monkeypatch.setattr(module, "DEADLINE", -1.0)
    compiling = Compiling(ByHand())
    compiling.add(3, Submit(7, [1], Sampling(), Ending(2), 0, None, "", 0.0, "g"), "g")
    assert "not compiled within" in compiling.take()[0].refusal


def test_a_cancelled_request_is_forgotten():
    compiling, future = waiting()
    compiling.cancel([(3, 7), (3, 8)])
    assert not compiling
    assert future.cancelled()
