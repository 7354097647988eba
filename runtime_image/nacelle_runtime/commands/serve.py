"""`nacelle serve`: a bundle behind the OpenAI API, here and in a pod."""

import argparse
import asyncio
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from nacelle_engine.bundle import Bundle, check_target, read_bundle, verify_files
from nacelle_engine.errors import InvalidRequest, NacelleError
from nacelle_engine.machine import this_machine
from nacelle_runtime.machine import usable_processors
from nacelle_runtime.scheduler.bounds import Policy
from nacelle_runtime.settings import CoreSettings, FrontendSettings, termination_log
from nacelle_runtime.supervisor import Server, listen, supervise
from nacelle_runtime.termination import leave_failure
from nacelle_runtime.wire import Ready


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments; those of the engine's use mirror InferenceDeployment's runtime."""
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument("--model-name", help="what clients send as model; default: the engine's")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=_at_least(0), default=8000, help="0 takes any free one")
    _configure_engine(parser)
    parser.add_argument(
        "--drain-seconds", type=float, default=30.0, help="running answers get so long at the end"
    )
    parser.add_argument("--api-keys-file", type=Path, help="one key a line; default: no key needed")
    parser.add_argument("--max-body-bytes", type=_at_least(1), default=8 << 20)
    parser.add_argument("--access-log", action="store_true", help="one line a request")
    parser.add_argument(
        "--termination-log",
        type=Path,
        help="where the result is written; default: /dev/termination-log when it exists",
    )


def _configure_engine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-batch-size", type=_at_least(1), help="requests a step; default: the engine's limit"
    )
    parser.add_argument(
        "--kv-cache-free-memory-percent",
        type=_percent,
        default=90,
        help="the KV cache's share of the memory that is free once the weights are loaded",
    )
    parser.add_argument(
        "--kv-cache-blocks", type=_at_least(2), help="the KV cache in blocks of 32 tokens instead"
    )
    parser.add_argument(
        "--scheduler-policy",
        choices=[policy.value for policy in Policy],
        default=Policy.GUARANTEED_NO_EVICT.value,
        help="whether a request starts only when its longest answer fits the KV cache",
    )
    parser.add_argument("--no-prefix-caching", action="store_true")
    parser.add_argument(
        "--no-chunked-prefill",
        action="store_true",
        help="run every prompt whole; none may then be longer than a step of the engine",
    )
    parser.add_argument(
        "--chunked-prefill-tokens",
        type=_at_least(1),
        default=512,
        help="prompt tokens a step, so that long prompts do not hold up running answers",
    )
    parser.add_argument(
        "--queue-limit", type=_at_least(1), default=256, help="requests that may wait; more get 429"
    )
    parser.add_argument(
        "--threads", type=_at_least(1), help="default: the processors this process may use"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C; a refusal leaves its reason in the termination log."""
    began = time.monotonic()
    log = termination_log(arguments.termination_log)
    try:
        bundle = _checked(arguments.bundle)
        listener = _listener(arguments)
        host, port = listener.getsockname()[:2]
        with tempfile.TemporaryDirectory(prefix="nacelle-") as folder:
            core = _core_settings(arguments, log)
            frontend = _frontend_settings(arguments, bundle, Path(folder) / "core.sock", log)
            url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

            def say_ready(ready: Ready) -> None:
                lines = _summary(frontend, bundle, ready, url, time.monotonic() - began)
                print("\n".join(lines), file=sys.stderr, flush=True)

            return asyncio.run(supervise(Server(core, frontend, listener, say_ready)))
    except NacelleError as error:
        leave_failure(log, error)
        raise


def _checked(folder: Path) -> Bundle:
    """The bundle, whose ABI, target and every digest hold; nothing of it is opened before."""
    bundle = read_bundle(folder)
    check_target(bundle, this_machine())
    verify_files(bundle)
    return bundle


def _listener(arguments: argparse.Namespace) -> socket.socket:
    try:
        return listen(arguments.host, arguments.port)
    except OSError as error:
        raise InvalidRequest(
            f"--host {arguments.host} --port {arguments.port}: {error.strerror or error}"
        ) from error


def _core_settings(arguments: argparse.Namespace, log: str | None) -> CoreSettings:
    return CoreSettings(
        bundle=str(arguments.bundle),
        threads=arguments.threads or usable_processors(),
        max_batch_size=arguments.max_batch_size,
        scheduler_policy=arguments.scheduler_policy,
        chunked_prefill=not arguments.no_chunked_prefill,
        chunked_prefill_tokens=arguments.chunked_prefill_tokens,
        kv_cache_free_memory_percent=arguments.kv_cache_free_memory_percent,
        kv_cache_blocks=arguments.kv_cache_blocks,
        prefix_caching=not arguments.no_prefix_caching,
        queue_limit=arguments.queue_limit,
        termination_log=log,
    )


def _frontend_settings(
    arguments: argparse.Namespace, bundle: Bundle, core_socket: Path, log: str | None
) -> FrontendSettings:
    keys = arguments.api_keys_file
    return FrontendSettings(
        bundle=str(arguments.bundle),
        model_name=arguments.model_name or bundle.manifest.provenance.model_name,
        core_socket=str(core_socket),
        drain_seconds=arguments.drain_seconds,
        max_body_bytes=arguments.max_body_bytes,
        api_keys_file=str(keys) if keys else None,
        access_log=arguments.access_log,
        termination_log=log,
    )


def _summary(
    frontend: FrontendSettings, bundle: Bundle, ready: Ready, url: str, seconds: float
) -> list[str]:
    """What a person wants to know once the server is ready."""
    manifest = bundle.manifest
    quantization = manifest.quantization
    return [
        f"model     {frontend.model_name}",
        f"engine    {manifest.key[:16]}  {manifest.target.architecture}  "
        f"{quantization.algorithm}, {quantization.compute_type}, {ready.threads} threads",
        f"KV cache  {ready.kv_tokens} tokens; at most {ready.input_len} in, "
        f"{ready.sequence_len} a sequence",
        f"loaded    {ready.loaded}",
        f"ready     in {seconds:.1f} s (the core: {ready.loading_seconds:.1f} s)",
        f"URL       {url}/v1",
    ]


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is below {least}")
        return value

    return number


def _percent(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{value} is not a percentage from 1 to 100")
    return value
