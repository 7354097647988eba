"""Whom the serving pods can be reached by, and whom they can reach."""

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from nacelle_operator.api.schema import ApiModel, Foreign, Rule

_ENDPOINTS: Final = "['OTEL_EXPORTER_OTLP_ENDPOINT', 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT']"
_IN_THE_POD: Final = "'^https?://(localhost|127[.]0[.]0[.]1|[[]::1[]])([:/]|$)'"
TRACES_CAN_LEAVE: Final = Rule(
    "!has(self.network) || self.network.policy != 'Restricted' "
    "|| (has(self.network.egress) && self.network.egress.size() > 0) "
    "|| !has(self.pod) || !has(self.pod.env) "
    f"|| !self.pod.env.exists(v, v.name in {_ENDPOINTS} "
    f"&& !(has(v.value) && v.value.matches({_IN_THE_POD})))",
    "network.policy Restricted would hold back the traces that pod.env sends to an OTLP endpoint: "
    "allow the way to the collector in network.egress",
)
"""Of a spec: traces that are asked for are not lost in silence."""


class Network(ApiModel):
    """Whom the serving pods can be reached by, and whom they can reach."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.egress) || self.policy == 'Restricted'",
            "network.egress has a meaning with policy Restricted only: leave it out",
        ),
    )

    policy: Literal["Open", "Restricted"] = "Open"
    """Open: as the namespace says. Restricted: a NetworkPolicy, named as the resource, lets the
    pods be reached at their frontends' ports alone, and lets them reach DNS (port 53) and what
    egress adds. Either way it restarts no pod."""

    egress: Annotated[tuple[Foreign, ...], Field(max_length=16)] = ()
    """What pods may reach beside DNS, such as an OTLP collector: egress rules as in a
    NetworkPolicy."""
