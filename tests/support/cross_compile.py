"""Compiles kernels for any architecture without a GPU, in a process of its own.

This process interprets kernels, and Triton decides that once: when it is imported.
"""

import importlib
import json
import os
import pickle
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from kept import kept


def cross_compile(jobs):
    """{architecture: [{name, ptx, shared, stack}]} of {architecture: [job]}, sizes in bytes.

    A job is (op's module, shape, choice, dict of the keywords that its `kernel` takes besides).
    Triton finds a kernel that it compiled before by its source, constants and options.
    """
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, __file__],
        input=pickle.dumps(
            {
                architecture.value: [(op.__name__, *taken) for op, *taken in several]
                for architecture, several in jobs.items()
            }
        ),
        env={**environment, "TRITON_CACHE_DIR": str(kept("triton"))},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    return json.loads(done.stdout)


def _compiled(kernel, architecture):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = kernel.function.arg_names
    signature = {name: kernel.arguments.get(name, "constexpr") for name in names}
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(names)
        if signature[name].startswith("*")
    }
    result = triton.compile(
        ASTSource(kernel.function, signature, dict(kernel.constants), aligned),
        target=GPUTarget("cuda", int(architecture.removeprefix("sm_")), 32),
        options={
            "num_warps": kernel.warps,
            "num_stages": kernel.stages,
            "launch_pdl": kernel.dependent,
        },
    )
    tool = Path(triton.__path__[0]) / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(result.asm["cubin"])
        cubin.flush()
        usage = subprocess.run(
            [tool, "--dump-resource-usage", cubin.name], capture_output=True, text=True, check=True
        ).stdout
    return {
        "name": kernel.name,
        "ptx": result.asm["ptx"],
        "shared": result.metadata.shared,
        "stack": int(re.search(r"STACK:(\d+)", usage)[1]),
    }


def _kernel(module, shape, choice, options):
    return importlib.import_module(module).kernel(shape, choice, **options)


if __name__ == "__main__":
    jobs = pickle.load(sys.stdin.buffer)
    found = {
        architecture: [_compiled(_kernel(*job), architecture) for job in several]
        for architecture, several in jobs.items()
    }
    json.dump(found, sys.stdout)
