"""Inspecting an image from within: what it holds, held against its rules."""

import json

from pydantic import BaseModel

from nacelle_images.spec import Rules

# Run by the image's own Python, so that what counts is what a process there can reach.
SCRIPT = """
import importlib, importlib.util, json, os, shutil, sys
asked = json.loads(sys.argv[1])
failures = {}
for name in asked["entries"]:
    try:
        importlib.import_module(name)
    except Exception as error:
        failures[name] = repr(error)
print(json.dumps({
    "uid": os.getuid(),
    "failures": failures,
    "modules": [name for name in asked["modules"] if importlib.util.find_spec(name)],
    "programs": [name for name in asked["programs"] if shutil.which(name)],
}))
"""


class Findings(BaseModel):
    """The process's user, entry modules that do not import, modules and programs that are there."""

    uid: int
    failures: dict[str, str]
    modules: frozenset[str]
    programs: frozenset[str]


def command(rules: Rules) -> list[str]:
    """What to run inside the image; its output is a Findings as JSON."""
    asked = {
        "entries": rules.entries,
        "modules": sorted(rules.modules | rules.no_modules),
        "programs": sorted(rules.programs | rules.no_programs),
    }
    return ["python3", "-c", SCRIPT, json.dumps(asked)]


def violations(rules: Rules, found: Findings) -> list[str]:
    """Each broken rule in a few words; empty when the image is as it must be."""
    broken = [f"lacks the module {name}" for name in sorted(rules.modules - found.modules)]
    broken += [f"holds the module {name}" for name in sorted(rules.no_modules & found.modules)]
    broken += [f"lacks the program {name}" for name in sorted(rules.programs - found.programs)]
    broken += [f"holds the program {name}" for name in sorted(rules.no_programs & found.programs)]
    broken += [f"cannot import {name}: {why}" for name, why in sorted(found.failures.items())]
    if found.uid == 0:
        broken.append("runs as root")
    return broken
