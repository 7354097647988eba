"""The process that compiles cubins: jobs as JSON on stdin, one line of JSON as the answer."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

_WARP_THREADS = 32
_ALIGNMENT = [["tt.divisibility", 16]]


def compile_one(job: dict[str, Any]) -> dict[str, Any]:
    """Compile one kernel to its file; the facts that its launches need."""
    function = getattr(importlib.import_module(job["module"]), job["function"])
    arguments, constants = job["arguments"], job["constants"]
    names = function.arg_names
    given = [name for name in names if name in arguments]
    if given != list(arguments) or set(names) != arguments.keys() | constants.keys():
        raise ValueError(
            f"the function takes {names}; given are the arguments {list(arguments)} and the "
            f"constants {list(constants)}"
        )
    major, minor = job["capability"]
    compile_source: Any = triton.compile
    compiled = compile_source(
        ASTSource(
            function,
            {name: arguments.get(name, "constexpr") for name in names},
            constexprs={(names.index(name),): value for name, value in constants.items()},
            attrs={
                (index,): _ALIGNMENT
                for index, name in enumerate(names)
                if arguments.get(name, "").startswith("*")
            },
        ),
        target=GPUTarget("cuda", 10 * major + minor, _WARP_THREADS),
        options={
            "num_warps": job["warps"],
            "num_stages": job["stages"],
            "launch_pdl": job["dependent"],
        },
    )
    facts = compiled.metadata
    if facts.global_scratch_size or facts.profile_scratch_size:
        raise ValueError("the kernel needs scratch memory, which the program does not give it")
    (Path(job["rank"]) / job["file"]).write_bytes(compiled.asm["cubin"])
    return {
        "name": job["name"],
        "file": job["file"],
        "entry": facts.name,
        "sharedBytes": facts.shared,
        "warps": facts.num_warps,
        "arguments": list(arguments.values()),
        "dependent": job["dependent"],
    }


def main() -> int:
    """Compile all jobs, and answer for each how it went."""
    made, failed = [], {}
    for job in json.load(sys.stdin):
        try:
            made.append(compile_one(job))
        except Exception as error:  # whatever Triton, LLVM or ptxas raise is one kernel's failure
            lines = str(error).strip().splitlines() or [type(error).__name__]
            failed[job["name"]] = lines[-1]
    print(json.dumps({"made": made, "failed": failed}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
