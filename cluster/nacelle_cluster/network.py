"""The host's side of the node's network: one veth pair and the routes to it.

The node has no other link and the host forwards nothing for it: nothing in it leaves the machine.
"""

from nacelle_cluster.command import run, succeeds
from nacelle_cluster.spec import ClusterSpec
from nacelle_cluster.waiting import wait_for

NODE_LINK = "node0"


def connect(spec: ClusterSpec, node_pid: int) -> None:
    """Makes the pair, gives the node its end, and routes pods and services to the node.

    The unreachable routes of higher metric make a client that outlives the node fail at once
    instead of being sent out of the machine's default route.
    """
    pair = ["ip", "link", "add", spec.link, "type", "veth", "peer", "name", NODE_LINK]
    run([*pair, "netns", str(node_pid)])
    run(["ip", "address", "add", f"{spec.host_ip}/24", "dev", spec.link])
    run(["ip", "link", "set", spec.link, "up"])
    for network in spec.networks:
        run(["ip", "route", "replace", "unreachable", network, "metric", "9999"])
    for network in (spec.pod_network, spec.service_network):
        run(["ip", "route", "replace", network, "via", spec.node_ip])


def disconnect(spec: ClusterSpec) -> None:
    """Takes link and routes away; whatever is gone already is fine."""
    for network in spec.networks:
        succeeds(["ip", "route", "del", "unreachable", network, "metric", "9999"])
    succeeds(["ip", "link", "del", spec.link])
    wait_for(f"link {spec.link} gone", lambda: not leftovers(spec), seconds=10)


def leftovers(spec: ClusterSpec) -> list[str]:
    """The cluster's link and routes that the host still has."""
    found = [f"link {spec.link}"] if succeeds(["ip", "link", "show", spec.link]) else []
    for route in run(["ip", "route", "show"]).splitlines():
        if any(network in route.split() for network in spec.networks):
            found.append(f"route {route.strip()}")
    return found
