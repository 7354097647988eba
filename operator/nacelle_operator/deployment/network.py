"""Whether a NetworkPolicy is made, and what is told of it."""

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.conditions import NETWORK_RESTRICTED, Verdict
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.decision import Decision, let_go, written
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.deployment.optional import OptionalCase
from nacelle_operator.kinds import NETWORK_POLICY
from nacelle_operator.objects.network_policy import network_policy


def wants_policy(resource: InferenceDeployment) -> bool:
    """Whether the spec asks for one."""
    return resource.spec.network.policy == "Restricted"


def decide_network(
    resource: InferenceDeployment, observed: Observed, *, is_serving: bool
) -> Decision:
    """The policy as it is wanted; nobody else's is touched."""
    if not wants_policy(resource):
        return let_go(resource, observed.network_policy)
    case = OptionalCase(resource, NETWORK_POLICY, observed.network_policy, is_serving)
    if case.is_anothers or not is_serving:
        return Decision(verdict=_verdict(case))
    return written(network_policy(resource), case.present, _verdict(case))


def _verdict(case: OptionalCase) -> Verdict:
    if case.is_anothers:
        said = (
            f"{case.name} is not this resource's, and the pods are not restricted by it: delete "
            "it, or set spec.network.policy to Open"
        )
        return Verdict(NETWORK_RESTRICTED, "False", reasons.NETWORK_POLICY_NAME_TAKEN, said)
    if case.present is None:
        return Verdict(NETWORK_RESTRICTED, "Unknown", reasons.NETWORK_POLICY_PENDING, case.awaited)
    said = f"{case.name} is in place, for the cluster's network plugin to enforce"
    return Verdict(NETWORK_RESTRICTED, "True", reasons.NETWORK_POLICY_IN_PLACE, said)
