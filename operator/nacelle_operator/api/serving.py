"""How an engine is served: the runtime's settings and its frontends."""

from itertools import combinations
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from nacelle_operator.api.placement import KeyRef, Resources
from nacelle_operator.api.schema import ApiModel, Name, Rule
from nacelle_operator.api.speculation import Speculative

Image = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^\s]+$")]
Port = Annotated[int, Field(ge=1024, le=65535)]


class Runtime(ApiModel):
    """Settings of the serving process."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.chunkedPrefillTokens) || !has(self.chunkedPrefill) || self.chunkedPrefill",
            "runtime.chunkedPrefillTokens has no meaning if chunkedPrefill is false: leave it out",
        ),
    )

    max_batch_size: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Requests in a step, at most; left out: what the engine was built for."""

    kv_cache_free_memory_percent: Annotated[int, Field(ge=1, le=95)] | None = None
    """How much of the memory left after loading the KV cache takes; left out: 90."""

    queue_limit: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Requests that may wait, at most; more are answered 429. Left out: 256."""

    scheduler_policy: Literal["GUARANTEED_NO_EVICT", "MAX_UTILIZATION"] = "GUARANTEED_NO_EVICT"
    """GUARANTEED_NO_EVICT: a request starts only when it can be finished without being put back.
    MAX_UTILIZATION: it starts when its tokens so far fit; when the KV cache is full, the youngest
    of the lowest priority is put back and computed again later, with the same answer."""

    prefix_caching: bool = True
    """Keep the KV blocks of finished prompts and reuse them for prompts that begin alike."""

    chunked_prefill: bool = True
    """Split long prompts over steps, so that running requests go on meanwhile. If not, a prompt is
    at most the engine's maxNumTokens long."""

    chunked_prefill_tokens: Annotated[int, Field(ge=16, le=1_000_000)] | None = None
    """Prompt tokens in a step, at most; more give more tokens a second, and running answers wait
    longer for a step. Left out: 2,048 on a GPU, 512 on a CPU."""

    speculative: Speculative | None = None
    """Draft tokens and verify them beside decoding; left out: none are."""

    image: Image | None = None
    """The runtime's image; left out: the operator's image of the engine's ABI."""


class SecretRef(ApiModel):
    """A Secret of the namespace."""

    name: Name
    """The Secret's name."""


class OpenAIFrontend(ApiModel):
    """The OpenAI API over HTTP."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.enabled",
            "frontends.openai.enabled cannot be false: the pods' health and metrics answer on its "
            "port, with a Triton server too",
        ),
    )

    enabled: bool = True
    """Whether it is served."""

    port: Port = 8000
    """The port of pods and Service; health and metrics answer on it too."""

    api_keys_secret_ref: KeyRef | None = None
    """The Secret key that lists the API keys, one a line; left out: every request is served."""

    tls_secret_ref: SecretRef | None = None
    """A Secret of type kubernetes.io/tls, whose certificate is served, renewed ones too; left out:
    plain HTTP, for a Gateway, an Ingress or a mesh to end TLS before it."""

    @property
    def scheme(self) -> Literal["http", "https"]:
        """How it is spoken to."""
        return "https" if self.tls_secret_ref else "http"


_TRITON: Final = "self.triton.enabled"
_PORTS: Final = ("openai.port", "triton.httpPort", "triton.grpcPort", "triton.metricsPort")
_DISTINCT: Final = " && ".join(f"self.{a} != self.{b}" for a, b in combinations(_PORTS, 2))


class TritonFrontend(ApiModel):
    """NVIDIA's Triton Inference Server in a container of its own beside the runtime's, with the
    models ensemble, tensorrt_llm_bls and tensorrt_llm under TensorRT-LLM's tensor names."""

    enabled: bool = False
    """Whether it is served."""

    http_port: Port = 8003
    """The port of pods and Service for Triton's HTTP."""

    grpc_port: Port = 8001
    """The port of pods and Service for Triton's gRPC."""

    metrics_port: Port = 8002
    """The port of pods and Service for Triton's metrics, the core's among them."""

    resources: Resources | None = None
    """What Triton's container is given; left out: 250m CPU, 1 GiB of memory."""

    image: Image | None = None
    """Triton's image; left out: the operator's image of the engine's ABI."""


class Frontends(ApiModel):
    """What clients can speak."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"!{_TRITON} || ({_DISTINCT})",
            "frontends: openai.port, triton.httpPort, triton.grpcPort and triton.metricsPort must "
            "differ: they are ports of one pod",
        ),
        Rule(
            f"!{_TRITON} || !has(self.openai.tlsSecretRef)",
            "frontends.openai.tlsSecretRef does not encrypt frontends.triton: serve Triton's "
            "clients by an InferenceDeployment of their own",
        ),
        Rule(
            f"!{_TRITON} || !has(self.openai.apiKeysSecretRef)",
            "frontends.openai.apiKeysSecretRef does not guard frontends.triton, which asks for no "
            "keys: serve Triton's clients by an InferenceDeployment of their own",
        ),
    )

    openai: OpenAIFrontend = OpenAIFrontend()
    """The OpenAI API."""

    triton: TritonFrontend = TritonFrontend()
    """A Triton server."""
