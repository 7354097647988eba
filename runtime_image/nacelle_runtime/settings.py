"""What `nacelle serve` was asked for, as its processes hand it on."""

from pathlib import Path

import msgspec


class CoreSettings(msgspec.Struct, frozen=True):
    """How the core serves a bundle; None leaves a bound to the engine or to the machine."""

    bundle: str
    threads: int
    max_batch_size: int | None = None
    scheduler_policy: str = "GUARANTEED_NO_EVICT"
    chunked_prefill: bool = True
    chunked_prefill_tokens: int | None = None
    kv_cache_free_memory_percent: int = 90
    kv_cache_blocks: int | None = None
    prefix_caching: bool = True
    queue_limit: int = 256
    steps_in_flight: int | None = None
    speculation: str = "none"
    speculative_tokens: int = 4
    draft_engine: str | None = None
    synthetic_acceptance: float | None = None
    termination_log: str | None = None
    log_format: str = "text"

    def prompt_tokens(self, device: str) -> int:
        """Prompt tokens a step on a device of that type: running answers wait for them.

        2,048 of an 8B model take 27 ms on an NVIDIA H200.
        """
        return self.chunked_prefill_tokens or (2048 if device == "cuda" else 512)


class FrontendSettings(msgspec.Struct, frozen=True):
    """How the OpenAI frontend answers."""

    bundle: str
    model_name: str
    core_socket: str
    drain_seconds: float = 30.0
    max_body_bytes: int = 8 << 20
    receive_seconds: float = 60.0
    keep_alive_seconds: float = 650.0
    read_seconds: float = 60.0
    step_deadline_seconds: float = 120.0
    api_keys_file: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    access_log: bool = False
    traces: bool = False
    log_format: str = "text"
    termination_log: str | None = None


def encode(settings: CoreSettings | FrontendSettings) -> str:
    """Settings as one argument of a command line."""
    return msgspec.json.encode(settings).decode()


def termination_log(given: Path | None) -> str | None:
    """The file for the result: the one asked for, or Kubernetes' own when it is there."""
    kubernetes = Path("/dev/termination-log")
    file = given or (kubernetes if kubernetes.is_file() else None)
    return str(file) if file else None
