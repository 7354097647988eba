"""A Prometheus that an autoscaler asks for the pods' metrics."""

from typing import Annotated, Literal

from pydantic import Field

from nacelle_operator.api.schema import ApiModel, Name


class PrometheusAuthentication(ApiModel):
    """What the autoscaler shows the Prometheus."""

    name: Name
    """A TriggerAuthentication of KEDA's in the namespace."""

    modes: Annotated[
        tuple[Literal["basic", "bearer", "custom", "oauth", "tls"], ...],
        Field(min_length=1, max_length=3, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ]
    """Which of its values count, as KEDA's authModes names them."""


class Prometheus(ApiModel):
    """Where the pods' metrics are asked for. Their series must carry the labels namespace and pod,
    as those of a PodMonitor do."""

    server_address: Annotated[
        str, Field(min_length=1, max_length=2048, pattern=r"^https?://[^/?#\s]+[^?#\s]*$")
    ]
    """The base address of its HTTP API, such as http://prometheus.monitoring.svc:9090."""

    authentication: PrometheusAuthentication | None = None
    """Left out: the Prometheus lets anybody ask."""
