"""Plans compiled by TensorRT in a process of its own, since it may end the one it is in."""

import subprocess
import sys
import threading
from collections import deque
from typing import IO, Final

from nacelle_builder.compile.tensorrt.plan_job import Line, PlanJob
from nacelle_builder.report import Report
from nacelle_engine.errors import CompileFailed
from nacelle_engine.program.tensorrt_failure import failure

WORKER: Final = "nacelle_builder.compile.tensorrt.plan_worker"
TIMEOUT_SECONDS: Final = 7200
_KEPT_LINES: Final = 200


def compile_plans(job: PlanJob, report: Report, timeout: float = TIMEOUT_SECONDS) -> dict[str, int]:
    """Write <network>.plan of every network of the job; the bytes that each works in, by name.

    CompileFailed, OutOfMemory or AbiMismatch says what TensorRT's log says.
    """
    lines: deque[str] = deque(maxlen=_KEPT_LINES)
    late = threading.Event()
    with subprocess.Popen(
        [sys.executable, "-m", WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:

        def end() -> None:
            late.set()
            process.kill()

        assert process.stdin and process.stdout and process.stderr
        beside = threading.Thread(target=lines.extend, args=(process.stderr,), daemon=True)
        watch = threading.Timer(timeout, end)
        beside.start()
        watch.start()
        try:
            _give(process.stdin, job)
            done = _follow(process.stdout, report)
            process.wait()
        finally:
            watch.cancel()
            process.kill()
            beside.join()
    if late.is_set():
        raise CompileFailed(f"compiling plans: TensorRT did not end in {timeout:g} s")
    if process.returncode or done is None:
        raise failure("compiling plans", list(lines))
    return done.workspace_bytes


def _give(stdin: IO[str], job: PlanJob) -> None:
    try:
        stdin.write(job.model_dump_json(by_alias=True))
        stdin.close()
    except BrokenPipeError:
        # It has ended already; its log says why.
        return


def _follow(stdout: IO[str], report: Report) -> Line | None:
    """Pass the lines on, each percentage once; the last one, where it came."""
    told = -1
    for text in stdout:
        if not text.startswith("{"):
            continue
        line = Line.model_validate_json(text)
        if line.done:
            return line
        if line.percent > told:
            told = line.percent
            report(line.percent, line.message)
    return None
