"""`nacelle build`: builds an engine from a model, from flags or as a cluster's Job."""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from pydantic import ValidationError

from nacelle_builder.build import Build, work_folder
from nacelle_builder.children import end_children
from nacelle_builder.commands.build_flags import add_flags, request_of
from nacelle_builder.progress_sinks import on_terminal, sink
from nacelle_builder.run_build import BuildFailed, run_build
from nacelle_builder.settings import REQUEST_VARIABLE, HubAccess, request_text
from nacelle_builder.stages.list import PREPARING
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.request import BuildRequest
from nacelle_engine.result import Failure, Prepared, Published, Result

TERMINATION_LOG = Path("/dev/termination-log")


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_flags(parser)
    parser.add_argument(
        "--keep-checkpoint", type=Path, metavar="DIR", help="also keep the converted checkpoint"
    )
    parser.add_argument(
        "--until",
        choices=PREPARING,
        default="",
        help="end after this stage, on a machine that need not be the target's: the next build of "
        "the same goes on from there",
    )
    parser.add_argument(
        "--request-env",
        action="store_true",
        help=f"be a cluster's Job: the request is the JSON in {REQUEST_VARIABLE}",
    )
    parser.add_argument(
        "--termination-log", type=Path, metavar="FILE", help="where a Job leaves its result"
    )


def run(arguments: argparse.Namespace) -> int:
    """Build, and say where the engine lies; a Job also leaves its result for the operator."""
    signal.signal(signal.SIGTERM, _end)
    log = arguments.termination_log or (TERMINATION_LOG if arguments.request_env else None)
    try:
        made = _build(arguments)
    except BuildFailed as failed:
        _leave(log, Result(failure=Failure.of(failed.error, failed.stage)))
        raise failed.error from failed
    except Exception as error:
        _leave(log, Result(failure=Failure.of(error)))
        raise
    if isinstance(made, Prepared):
        result, lines = Result(prepared=made), [f"prepared  until {made.until}"]
    else:
        result, lines = Result(published=made), summary(made)
    _leave(log, result)
    if not arguments.request_env:
        print("\n".join(lines))
    return 0


def summary(published: Published) -> list[str]:
    """What a person wants to know at the end, one line each."""
    lines = [f"engine    {published.path}"]
    if published.already_existed:
        lines.append("          published already: nothing was built")
    if published.stage_seconds:
        seconds = ", ".join(f"{name} {took} s" for name, took in published.stage_seconds.items())
        lines.append(f"stages    {seconds}; {sum(published.stage_seconds.values())} s in all")
    accuracy = published.accuracy
    if accuracy is not None:
        lines.append(
            f"accuracy  mean KL {accuracy.mean_kl_divergence}, p99 {accuracy.p99_kl_divergence}, "
            f"top-1 {accuracy.top_one_agreement_percent} %, perplexity "
            f"{accuracy.perplexity_increase_percent} % up, over {accuracy.positions} positions"
        )
    lines.append(f"size      {published.bytes / 1e6:.1f} MB, digest {published.digest[:16]}")
    return lines


def _build(arguments: argparse.Namespace) -> Published | Prepared:
    if arguments.until and arguments.keep_checkpoint is not None:
        raise InvalidRequest("--keep-checkpoint needs the whole build: leave --until out")
    request = _request_from_environment() if arguments.request_env else request_of(arguments)
    build = Build(
        request=request,
        work=work_folder(request),
        access=HubAccess.from_environment(),
        keep_checkpoint=arguments.keep_checkpoint,
        until=arguments.until,
    )
    with sink(bar=on_terminal() and not arguments.request_env) as tell:
        return run_build(build, tell)


def _request_from_environment() -> BuildRequest:
    text = request_text()
    if text is None:
        raise InvalidRequest(f"{REQUEST_VARIABLE} is not set, and --request-env reads it")
    try:
        return BuildRequest.model_validate_json(text)
    except ValidationError as error:
        raise InvalidRequest(f"{REQUEST_VARIABLE}: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]


def _leave(log: Path | None, result: Result) -> None:
    if log is None:
        return
    try:
        log.write_text(result.message())
    except OSError as error:
        # The exit code still tells the operator; the build itself must not fail for this.
        print(f"nacelle build: {log} cannot be written: {error.strerror}", file=sys.stderr)


def _end(number: int, frame: FrameType | None) -> None:
    end_children()
    raise SystemExit(128 + number)
