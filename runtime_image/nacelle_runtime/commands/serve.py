"""`nacelle serve`: a bundle behind the OpenAI API, here and in a pod."""

import argparse
import asyncio
import socket
import sys
import tempfile
import time
from pathlib import Path

from msgspec.structs import replace

from nacelle_engine.bundle import Bundle, check_target, read_bundle, verify_files
from nacelle_engine.errors import InvalidRequest, NacelleError
from nacelle_engine.machine import this_machine
from nacelle_runtime import logs
from nacelle_runtime.commands.engine_flags import at_least, configure_engine
from nacelle_runtime.commands.frontend_flags import configure_frontend
from nacelle_runtime.commands.speculation_flags import TOKENS, check_speculation
from nacelle_runtime.commands.traces import traces_wanted
from nacelle_runtime.logs import LogFormat
from nacelle_runtime.machine import usable_processors
from nacelle_runtime.settings import CoreSettings, FrontendSettings, termination_log
from nacelle_runtime.speculation.draft_bundle import check_draft
from nacelle_runtime.supervisor import Server, hear_signals, listen, supervise
from nacelle_runtime.termination import leave_failure
from nacelle_runtime.wire import Ready

# What the kernel takes as a socket's path.
_LONGEST_SOCKET = 107


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments; those of the engine's use mirror InferenceDeployment's runtime."""
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument("--model-name", help="what clients send as model; default: the engine's")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=at_least(0), default=8000, help="0 takes any free one")
    configure_engine(parser)
    parser.add_argument(
        "--core-socket",
        type=Path,
        help="where the core listens for other frontends, as a Triton server's models; "
        "default: a folder of its own",
    )
    configure_frontend(parser)
    parser.add_argument(
        "--termination-log",
        type=Path,
        help="where the result is written; default: /dev/termination-log when it exists",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C; a refusal leaves its reason in the termination log."""
    began = time.monotonic()
    hear_signals()
    log = termination_log(arguments.termination_log)
    logs.configure(arguments.log_format, "supervisor")
    try:
        core = replace(core_settings(arguments, log), log_format=arguments.log_format)
        bundle = _checked(arguments.bundle)
        if core.draft_engine is not None:
            most = core.max_batch_size or bundle.manifest.limits.max_batch_size
            check_draft(bundle, _checked(arguments.draft_engine), most)
        listener = _listener(arguments)
        host, port = listener.getsockname()[:2]
        with tempfile.TemporaryDirectory(prefix="nacelle-") as folder:
            frontend = _frontend_settings(arguments, bundle, _core_socket(arguments, folder), log)
            scheme = "https" if frontend.tls_certificate else "http"
            url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

            def say_ready(ready: Ready) -> None:
                seconds = time.monotonic() - began
                if frontend.log_format == LogFormat.JSON:
                    logs.event("nacelle.serve", "ready", url=f"{url}/v1", seconds=seconds)
                    return
                lines = _summary(frontend, bundle, ready, url, seconds)
                print("\n".join(lines), file=sys.stderr, flush=True)

            return asyncio.run(supervise(Server(core, frontend, listener, say_ready)))
    except NacelleError as error:
        leave_failure(log, error)
        raise


def _core_socket(arguments: argparse.Namespace, folder: str) -> Path:
    """Where the core listens; a socket that an ended server left there is taken away."""
    given: Path | None = arguments.core_socket
    if given is None:
        return Path(folder) / "core.sock"
    if len(str(given).encode()) > _LONGEST_SOCKET:
        raise InvalidRequest(f"--core-socket {given}: at most {_LONGEST_SOCKET} bytes")
    with socket.socket(socket.AF_UNIX) as knock:
        if knock.connect_ex(str(given)) == 0:
            raise InvalidRequest(f"--core-socket {given}: another server listens there")
    if given.is_socket():
        given.unlink()
    if given.exists() or not given.parent.is_dir():
        raise InvalidRequest(f"--core-socket {given}: no socket can be made there")
    return given


def _checked(folder: Path) -> Bundle:
    """The bundle, whose ABI, target and every digest hold; nothing of it is opened before."""
    bundle = read_bundle(folder)
    check_target(bundle, this_machine())
    verify_files(bundle)
    return bundle


def _listener(arguments: argparse.Namespace) -> socket.socket:
    try:
        return listen(arguments.host, arguments.port)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise InvalidRequest(f"--host {arguments.host} --port {arguments.port}: {why}") from error


def core_settings(arguments: argparse.Namespace, log: str | None) -> CoreSettings:
    """How a core serves `arguments.bundle`; log: where it leaves why it ended.

    Raises InvalidRequest for flags that do not go together.
    """
    check_speculation(arguments)
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
        steps_in_flight=arguments.steps_in_flight,
        speculation=arguments.speculation,
        speculative_tokens=arguments.speculative_tokens or TOKENS,
        draft_engine=str(arguments.draft_engine) if arguments.draft_engine else None,
        synthetic_acceptance=arguments.synthetic_acceptance,
        termination_log=log,
    )


def _frontend_settings(
    arguments: argparse.Namespace, bundle: Bundle, core_socket: Path, log: str | None
) -> FrontendSettings:
    keys = arguments.api_keys_file
    certificate, key = arguments.tls_certificate, arguments.tls_key
    if (certificate is None) != (key is None):
        raise InvalidRequest("--tls-certificate and --tls-key: give both or neither")
    return FrontendSettings(
        bundle=str(arguments.bundle),
        model_name=arguments.model_name or bundle.manifest.provenance.model_name,
        core_socket=str(core_socket),
        drain_seconds=arguments.drain_seconds,
        max_body_bytes=arguments.max_body_bytes,
        receive_seconds=arguments.receive_seconds,
        keep_alive_seconds=arguments.keep_alive_seconds,
        read_seconds=arguments.read_seconds,
        step_deadline_seconds=arguments.step_deadline_seconds,
        api_keys_file=str(keys) if keys else None,
        tls_certificate=str(certificate) if certificate else None,
        tls_key=str(key) if key else None,
        access_log=arguments.access_log,
        traces=traces_wanted(arguments.traces),
        log_format=arguments.log_format,
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
        f"drafts    {ready.speculation}",
        f"ready     in {seconds:.1f} s (the core: {ready.loading_seconds:.1f} s)",
        f"URL       {url}/v1",
    ]
