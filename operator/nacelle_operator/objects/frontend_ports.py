"""The ports that clients reach pods at, by the names that they have in pods."""

from nacelle_operator.api.serving import Frontends
from nacelle_operator.objects.names import (
    OPENAI_PORT,
    TRITON_GRPC_PORT,
    TRITON_HTTP_PORT,
    TRITON_METRICS_PORT,
)


def frontend_ports(frontends: Frontends) -> dict[str, int]:
    """Each port's name and number."""
    numbers = {OPENAI_PORT: frontends.openai.port}
    if frontends.triton.enabled:
        numbers |= {
            TRITON_HTTP_PORT: frontends.triton.http_port,
            TRITON_GRPC_PORT: frontends.triton.grpc_port,
            TRITON_METRICS_PORT: frontends.triton.metrics_port,
        }
    return numbers
