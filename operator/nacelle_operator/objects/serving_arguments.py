"""What `nacelle` is called with in a serving pod."""

from collections.abc import Iterator
from typing import Final

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.objects.serving_secrets import secret_flags
from nacelle_operator.objects.triton_server import CORE_SOCKET

_METHODS: Final = {"PromptLookup": "prompt-lookup", "DraftEngine": "draft"}
Flags = Iterator[tuple[str, object]]


def arguments(
    resource: InferenceDeployment,
    *,
    bundle: str,
    draft: str | None,
    model: str,
    drain_seconds: int,
) -> list[str]:
    """The arguments; what the spec leaves out is left to the runtime.

    bundle, draft  folders of the engine and of the one that drafts
    model          the name that clients send as "model"
    """
    runtime, frontends = resource.spec.runtime, resource.spec.frontends
    flags = {
        "--model-name": model,
        "--host": "0.0.0.0",
        "--port": frontends.openai.port,
        "--drain-seconds": drain_seconds,
        "--scheduler-policy": runtime.scheduler_policy,
        "--max-batch-size": runtime.max_batch_size,
        "--chunked-prefill-tokens": runtime.chunked_prefill_tokens,
        "--queue-limit": runtime.queue_limit,
        "--kv-cache-free-memory-percent": runtime.kv_cache_free_memory_percent,
        **dict(_speculation(resource, draft)),
        **secret_flags(frontends.openai),
        "--core-socket": CORE_SOCKET if frontends.triton.enabled else None,
    }
    given = [text for flag, value in flags.items() if value is not None for text in (flag, value)]
    if not runtime.prefix_caching:
        given.append("--no-prefix-caching")
    if not runtime.chunked_prefill:
        given.append("--no-chunked-prefill")
    return ["serve", bundle, *map(str, given)]


def _speculation(resource: InferenceDeployment, draft: str | None) -> Flags:
    speculative = resource.spec.runtime.speculative
    if speculative:
        yield "--speculation", _METHODS[speculative.method]
        yield "--speculative-tokens", speculative.tokens
        yield "--draft-engine", draft
