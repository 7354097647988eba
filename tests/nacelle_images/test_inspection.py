import subprocess
import sys

import pytest

from nacelle_images.inspection import Findings, command, violations
from nacelle_images.spec import BUILDER, OPERATOR, RUNTIME, Rules

RULES = Rules(
    entries=("json",),
    modules=frozenset({"json"}),
    no_modules=frozenset({"torch"}),
    programs=frozenset({"python"}),
    no_programs=frozenset({"gcc"}),
)


def found(uid=10001, modules=("json",), programs=("python",), failures=()) -> Findings:
    return Findings(
        uid=uid,
        failures=dict(failures),
        modules=frozenset(modules),
        programs=frozenset(programs),
    )


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        (found(), []),
        (found(uid=0), ["runs as root"]),
        (found(modules=()), ["lacks the module json"]),
        (found(modules=("json", "torch")), ["holds the module torch"]),
        (found(programs=("python", "gcc")), ["holds the program gcc"]),
        (found(failures=[("a.b", "no c")]), ["cannot import a.b: no c"]),
        (found(programs=()), ["lacks the program python"]),
    ],
)
def test_violations(findings, expected):
    assert violations(RULES, findings) == expected


def test_the_command_finds_what_this_interpreter_reaches():
    rules = Rules(
        entries=("json", "no_such_module"),
        modules=frozenset({"json"}),
        no_modules=frozenset({"no_such_module"}),
        programs=frozenset({"sh"}),
        no_programs=frozenset(),
    )
    program, *words = command(rules)
    assert program == "python3"
    done = subprocess.run([sys.executable, *words], capture_output=True, check=True)
    findings = Findings.model_validate_json(done.stdout)
    assert findings.failures.keys() == {"no_such_module"}
    assert findings.modules == {"json"}
    assert findings.programs == {"sh"}


def test_the_rules_that_matter_most():
    assert "torch" in OPERATOR.rules.no_modules
    assert {"triton", "transformers"} <= RUNTIME.rules.no_modules
    assert {"gcc", "g++", "nvcc", "ninja"} <= RUNTIME.rules.no_programs
    assert "triton" in BUILDER.rules.modules
