"""What a process leaves in its termination message: always within Kubernetes' limit."""

import pytest

from nacelle_engine.errors import InvalidModel
from nacelle_engine.result import Failure, Result, parse_result


@pytest.mark.parametrize("letter", ["a", "\u4e2d", "\U0001f600", "\x1b", '"', "\udcff"])
def test_any_long_message_fits_its_beginning_kept(letter):
    failure = Failure.of(
        InvalidModel("config.json: " + letter * 5000), "a stage of 32 characters at most"
    )
    left = parse_result(Result(failure=failure).message())
    assert left is not None and left.failure == failure
    assert failure.message.startswith("config.json: ") and len(failure.message) > 400
