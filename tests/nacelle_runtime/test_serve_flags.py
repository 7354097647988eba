"""Numbers that nacelle serve cannot keep to are refused by their flag's name."""

import argparse
import re

import pytest

from nacelle_engine.errors import InvalidRequest
from nacelle_runtime.commands import serve


def parse(*flags):
    parser = argparse.ArgumentParser()
    serve.configure(parser)
    return parser.parse_args(["bundle", *flags])


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        *(
            (f"--{name}-seconds", value, f"{value} is not a number above 0")
            for name in ("receive", "read", "keep-alive", "step-deadline")
            for value in ("inf", "nan", "0")
        ),
        *(
            ("--drain-seconds", value, f"{value} is not 0 or more")
            for value in ("inf", "nan", "-1")
        ),
        ("--max-body-bytes", "0", "0 is not a number above 0"),
    ],
)
def test_what_is_no_time_is_refused(flag, value, message, capsys):
    """Settings go to the frontend as JSON, which has no word for endless."""
    with pytest.raises(SystemExit):
        parse(flag, value)
    assert f"argument {flag}: {message}" in capsys.readouterr().err


def test_no_time_to_drain_is_one():
    assert parse("--drain-seconds", "0").drain_seconds == 0


def test_a_port_that_cannot_be_is_named():
    named = re.escape("--host 127.0.0.1 --port 65536: ")
    with pytest.raises(InvalidRequest, match=named):
        serve._listener(parse("--port", "65536"))
