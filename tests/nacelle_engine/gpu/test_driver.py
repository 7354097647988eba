"""What reaches the CUDA driver, seen by one that only prints: run in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FAKE = Path(__file__).parents[2] / "support" / "fake_cuda.c"
START = """
import torch
from pathlib import Path
from nacelle_engine.errors import CorruptBundle
from nacelle_engine.machine import first_gpu
from nacelle_engine.program.cells import Cells
from nacelle_engine.program.driver import DriverError, Function, PreparedLaunch
from nacelle_engine.program.launch import KernelFile

def function(**changes):
    given = dict(name="k", file="k.cubin", entry="entry", shared_bytes=60000, warps=8)
    return Function(Path(), KernelFile(**given | changes, arguments=("*i32", "i32")))

cells, numbers = Cells(), torch.tensor([42], dtype=torch.int32)
arguments = [cells.fixed(numbers), cells.size("T")]
"""
# Runs each line's code as if it alone came after START, which takes seconds.
EACH = """
import json, os, sys

for line in sys.stdin:
    child = os.fork()
    if not child:
        os.dup2(os.open("printed", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        exec(json.loads(line))
        sys.exit()
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cuda")
    library = folder / "libcuda.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, FAKE, "-ldl"], check=True)
    (folder / "k.cubin").write_bytes(b"\x7fELF")
    (folder / "broken.cubin").write_bytes(b"....")

    process = subprocess.Popen(
        [sys.executable, "-c", START + EACH],
        cwd=folder,
        env={**os.environ, "LD_LIBRARY_PATH": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def lines(code):
        process.stdin.write(json.dumps(code) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "0\n"
        return (folder / "printed").read_text().splitlines()

    with process:
        yield lines


def test_the_gpu_is_described(run):
    described = ["NVIDIA-H200 (sm_90, 132 SMs)", "140000000000"]
    assert run("gpu = first_gpu(); print(gpu); print(gpu.memory_bytes)") == described


def test_a_launch_reads_its_cells_each_time(run):
    assert run(
        "launch = PreparedLaunch(function(dependent=True), arguments, 0x77)\n"
        "cells.set_sizes({'T': 5}); launch.launch(3, 4, 5)\n"
        "cells.set_sizes({'T': 6}); launch.launch(1, 1, 1)\n"
    ) == [
        "function entry",
        "attribute 8 = 60000",
        "grid 3 4 5 of 256 threads, 60000 bytes, stream 0x77",
        "with 6 = 1",
        "arguments 42 5, scratch (nil) (nil)",
        "grid 1 1 1 of 256 threads, 60000 bytes, stream 0x77",
        "with 6 = 1",
        "arguments 42 6, scratch (nil) (nil)",
    ]


def test_a_plain_kernel_asks_for_nothing(run):
    assert run("PreparedLaunch(function(shared_bytes=1024), arguments, 0).launch(1, 1, 1)\n") == [
        "function entry",
        "grid 1 1 1 of 256 threads, 1024 bytes, stream (nil)",
        "arguments 42 0, scratch (nil) (nil)",
    ]


def test_what_the_driver_refuses_is_named(run):
    assert run(
        "try: PreparedLaunch(function(), arguments, 0).launch(99, 1, 1)\n"
        "except DriverError as error: print(error)\n"
        "for file in ('broken.cubin', 'absent.cubin'):\n"
        "  try: function(file=file)\n"
        "  except CorruptBundle as error: print(error)\n"
    )[2:] == [
        "k: the CUDA driver says CUDA_ERROR_INVALID_VALUE",
        "broken.cubin cannot be loaded: the CUDA driver says CUDA_ERROR_INVALID_IMAGE",
        "absent.cubin cannot be read: No such file or directory",
    ]
