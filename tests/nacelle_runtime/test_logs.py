"""Lines that are logged: for people, or as JSON, with the request's id."""

import json
import logging
import re
from urllib.parse import unquote

import pytest

from nacelle_engine.errors import CorruptBundle
from nacelle_runtime import logs
from nacelle_runtime.frontends.openai.story import Stories


@pytest.fixture
def configured():
    """Configure as a process would; the test's own handlers come back at the end."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield logs.configure
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_of_json_has_the_fields_of_its_event(configured, capsys):
    configured("json", "openai")
    token = logs.request_id.set("mine")
    logs.event("nacelle.request", "POST /v1/x", status=200, finish=None)
    logs.request_id.reset(token)
    line = json.loads(capsys.readouterr().err)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line.pop("time"))
    assert line == {
        "level": "info",
        "process": "openai",
        "logger": "nacelle.request",
        "message": "POST /v1/x",
        "request_id": "mine",
        "status": 200,
    }


def test_a_line_for_people_ends_with_them(configured, capsys):
    configured("text", "openai")
    logs.event("nacelle.request", "POST /v1/x", status=200, finish=None)
    assert capsys.readouterr().err == "INFO nacelle.request: POST /v1/x status=200\n"


async def test_a_path_that_was_asked_for_adds_no_line(configured, capsys):
    """A line's end in it would begin a line of the client's own making."""

    async def app(_scope, _receive, _send):
        pass

    configured("text", "openai")
    path = b"/x%0AINFO%20nacelle.request:%20POST%20/v1/completions"
    scope = {"type": "http", "method": "GET", "headers": [], "raw_path": path}
    await Stories(app, told=True, traces=None)(scope | {"path": unquote(path)}, None, None)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"INFO nacelle.request: GET {path.decode()} ")


def test_an_exception_stays_on_its_line(configured, capsys):
    configured("json", "core")
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        logging.getLogger("nacelle").error("it failed", exc_info=error)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "two\nlines" in json.loads(lines[0])["exception"]


def test_the_last_words_name_the_error(configured, capsys):
    configured("json", "core")
    logs.last_words(CorruptBundle("a file is gone"), "json")
    assert json.loads(capsys.readouterr().err)["code"] == "CorruptBundle"
    logs.last_words(CorruptBundle("a file is gone"), "text")
    assert capsys.readouterr().err == "nacelle serve: CorruptBundle: a file is gone\n"
