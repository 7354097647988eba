"""The pods as a pool that an endpoint picker chooses from, for Gateways that know inference."""

from typing import Annotated, Final, Literal

from pydantic import Field

from nacelle_operator.api.schema import ApiModel, Name, Rule


class EndpointPickerRef(ApiModel):
    """The Service of the endpoint picker."""

    name: Name
    """A Service of the namespace."""

    port: Annotated[int, Field(ge=1, le=65_535)] = 9002
    """The port at which it takes Envoy's external processing."""

    failure_mode: Literal["FailClose", "FailOpen"] = "FailClose"
    """While it does not answer: requests are refused, or go to any pod."""


class InferencePool(ApiModel):
    """An InferencePool of the Gateway API's inference extension, named as the resource: the pods
    that the Service leads to, at the OpenAI port. An HTTPRoute of yours leads to it."""

    endpoint_picker_ref: EndpointPickerRef
    """Who chooses the pod for each request. You run it: it reads the pods' metrics under the names
    that it knows."""


POOL_IS_REACHED: Final = (
    Rule(
        "!has(self.inferencePool) || !has(self.frontends) "
        "|| !has(self.frontends.openai.tlsSecretRef)",
        "inferencePool sends plain HTTP to pods: end TLS at the Gateway, and leave "
        "frontends.openai.tlsSecretRef out",
    ),
    Rule(
        "!has(self.inferencePool) || !has(self.autoscaling) || self.autoscaling.minReplicas > 0",
        "autoscaling.minReplicas 0 is not built yet with inferencePool, which leads past what "
        "answers for sleeping pods; use 1",
    ),
)
"""Of a spec: the pool's pods can be spoken to as a Gateway does."""
