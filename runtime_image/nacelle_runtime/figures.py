"""The core's figures under every name that somebody looks for; docs/runtime.md lists them.

Our own; those of TensorRT-LLM under Triton; and the ones by which an endpoint picker of the Gateway
API's inference extension knows a vLLM server, its default.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from nacelle_runtime.wire import Ready, Stats

_OUTCOMES = ("stop", "length", "cancelled", "refused")


@dataclass(frozen=True)
class Figure:
    """One value under its full name; `counts` says that it only grows."""

    name: str
    text: str
    value: float
    counts: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


def figures(stats: Stats, ready: Ready, model: str) -> list[Figure]:
    """All of them; `model` is the name that clients know."""
    return [
        *_gauges(stats, model),
        *_counters(stats, model),
        *_of_speculation(stats, ready, model),
        *_of_tensorrt_llm(stats, ready),
        *_of_vllm(stats, ready, model),
    ]


def _gauges(stats: Stats, model: str) -> Iterator[Figure]:
    for name, text, value in (
        ("requests_waiting", "Requests in the queue", stats.waiting),
        ("requests_running", "Requests that steps run", stats.running),
        ("requests_max", "Requests that a step can run", stats.requests_max),
        ("kv_blocks_total", "Blocks of the KV cache", stats.kv_blocks_total),
        ("kv_blocks_used", "Blocks that requests hold", stats.kv_blocks_used),
        ("kv_blocks_idle", "Blocks kept for their content alone", stats.kv_blocks_idle),
        ("kv_utilization", "The share of the KV cache that requests hold", _utilization(stats)),
        (
            "prefix_hit_rate",
            "The share of admitted requests' prompt tokens that was in the cache",
            stats.prefix_hit_tokens / max(stats.prefix_asked_tokens, 1),
        ),
    ):
        yield Figure(f"nacelle_{name}", text, value, labels={"model": model})


def _counters(stats: Stats, model: str) -> Iterator[Figure]:
    for name, text, value in (
        ("prompt_tokens", "Prompt tokens taken in", stats.prompt_tokens),
        ("prefix_asked_tokens", "Prompt tokens of admitted requests", stats.prefix_asked_tokens),
        ("prefix_hit_tokens", "Of these, tokens found in the cache", stats.prefix_hit_tokens),
        ("generated_tokens", "Tokens drawn", stats.generated_tokens),
        ("preemptions", "Times a request was put back", stats.preemptions),
        ("steps", "Steps of the engine", stats.steps),
        (
            "device_seconds",
            "From the end of one step to the end of the next",
            stats.device_seconds,
        ),
        (
            "device_idle_seconds",
            "Of these, seconds that the device waited for the host",
            stats.device_idle_seconds,
        ),
    ):
        yield Figure(f"nacelle_{name}_total", text, value, counts=True, labels={"model": model})
    for outcome in _OUTCOMES:
        yield Figure(
            "nacelle_requests_total",
            "Requests that ended: stop, length, cancelled or refused",
            stats.finished.get(outcome, 0),
            counts=True,
            labels={"model": model, "outcome": outcome},
        )


def _of_speculation(stats: Stats, ready: Ready, model: str) -> Iterator[Figure]:
    kind = "measured" if ready.synthetic_acceptance is None else "synthetic"
    labels = {"model": model, "acceptance": kind}
    for name, text, value in (
        ("drafted_tokens", "Tokens that were drafted", stats.drafted_tokens),
        ("accepted_tokens", "Of these, tokens that answers kept", stats.accepted_tokens),
    ):
        yield Figure(f"nacelle_{name}_total", text, value, counts=True, labels=labels)
    yield Figure(
        "nacelle_draft_acceptance_rate",
        "The share of drafted tokens that answers kept",
        stats.accepted_tokens / max(stats.drafted_tokens, 1),
        labels=labels,
    )


def _of_tensorrt_llm(stats: Stats, ready: Ready) -> Iterator[Figure]:
    model = {"model": "tensorrt_llm", "version": "1"}
    for kind, count in (
        ("waiting", stats.waiting),
        ("context", stats.prefilling),
        ("scheduled", stats.running),
        ("max", stats.requests_max),
        ("active", stats.waiting + stats.running),
    ):
        yield Figure(
            "nv_trt_llm_request_metrics",
            "Requests, by where they stand",
            count,
            labels={"request_type": kind, **model},
        )
    for kind, value in (
        ("max", stats.kv_blocks_total),
        ("free", stats.kv_blocks_total - stats.kv_blocks_used),
        ("used", stats.kv_blocks_used),
        ("tokens_per", _block_size(stats, ready)),
        ("fraction", _utilization(stats)),
    ):
        yield Figure(
            "nv_trt_llm_kv_cache_block_metrics",
            "Blocks of the KV cache",
            value,
            labels={"kv_cache_block_type": kind, **model},
        )


def _of_vllm(stats: Stats, ready: Ready, model: str) -> Iterator[Figure]:
    named = {"model_name": model}
    yield Figure("vllm:num_requests_waiting", "Requests in the queue", stats.waiting, labels=named)
    yield Figure("vllm:num_requests_running", "Requests in steps", stats.running, labels=named)
    yield Figure("vllm:kv_cache_usage_perc", "KV cache held", _utilization(stats), labels=named)
    cache = {
        "block_size": str(_block_size(stats, ready)),
        "num_gpu_blocks": str(stats.kv_blocks_total),
    }
    yield Figure("vllm:cache_config_info", "The KV cache's sizes", 1, labels=cache | named)


def _utilization(stats: Stats) -> float:
    return stats.kv_blocks_used / stats.kv_blocks_total


def _block_size(stats: Stats, ready: Ready) -> int:
    return ready.kv_tokens // stats.kv_blocks_total
