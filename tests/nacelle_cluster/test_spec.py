"""Addresses of clusters never meet."""

from ipaddress import ip_address, ip_network
from itertools import combinations
from pathlib import Path

from nacelle_cluster.spec import MAX_CLUSTERS, ClusterSpec

SPECS = [ClusterSpec(f"c{index}", index, Path("/home")) for index in range(MAX_CLUSTERS)]


def test_no_two_networks_overlap():
    networks = [ip_network(network) for spec in SPECS for network in spec.networks]
    assert not [pair for pair in combinations(networks, 2) if pair[0].overlaps(pair[1])]


def test_addresses_lie_in_their_networks():
    for spec in SPECS:
        link, _pods, services = (ip_network(network) for network in spec.networks)
        assert {ip_address(spec.host_ip), ip_address(spec.node_ip)} <= set(link.hosts())
        assert {ip_address(spec.api_ip), ip_address(spec.dns_ip)} <= set(services.hosts())
        assert ip_address(spec.api_ip) == services.network_address + 1


def test_names_of_links_fit_the_kernel_and_differ():
    links = {spec.link for spec in SPECS}
    assert len(links) == MAX_CLUSTERS
    assert max(map(len, links)) <= 15
