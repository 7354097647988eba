"""The NetworkPolicy: who reaches the serving pods, and what they reach."""

from typing import Any, Final

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.kinds import NETWORK_POLICY as KIND
from nacelle_operator.objects.frontend_ports import frontend_ports
from nacelle_operator.objects.metadata import serving_metadata
from nacelle_operator.objects.serving_deployment import slot_selector

_DNS: Final = 53


def network_policy(resource: InferenceDeployment) -> dict[str, Any]:
    """The policy of both slots' pods: in at the frontends' ports from anywhere, which the operator
    reads metrics at too; out to DNS, and where the spec allows.

    Pods need nothing else: volumes are mounted by their node, whose probes no policy holds back.
    Ports by their names, whose numbers may differ between revisions.
    """
    ports = [{"protocol": "TCP", "port": name} for name in frontend_ports(resource.spec.frontends)]
    dns = [{"protocol": protocol, "port": _DNS} for protocol in ("UDP", "TCP")]
    return {
        "apiVersion": KIND.api_version,
        "kind": KIND.name,
        "metadata": serving_metadata(resource, resource.metadata.name),
        "spec": {
            "podSelector": {"matchLabels": slot_selector(resource, None)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": ports}],
            "egress": [{"ports": dns}, *(dict(rule) for rule in resource.spec.network.egress)],
        },
    }
