"""Configuration files parse, and name what the spec says."""

import json
import tomllib
from pathlib import Path

import yaml

from nacelle_cluster.configuration import PAUSE_IMAGE, files
from nacelle_cluster.parts import PartStore
from nacelle_cluster.programs import programs
from nacelle_cluster.spec import ClusterSpec

SPEC = ClusterSpec("test", 7, Path("/home"))
PARTS = PartStore(SPEC.home)
FILES = files(SPEC, PARTS)


def test_containerd_serves_every_registry_by_ours_and_keeps_layers_once():
    document = tomllib.loads(FILES["containerd.toml"])
    images = document["plugins"]["io.containerd.cri.v1.images"]
    assert images["pinned_images"]["sandbox"] == PAUSE_IMAGE
    assert images["discard_unpacked_layers"] is True
    folder = Path(images["registry"]["config_path"]).relative_to(SPEC.configuration)
    hosts = tomllib.loads(FILES[f"{folder}/_default/hosts.toml"])
    assert hosts["server"] == f"http://{SPEC.registry}"
    assert list(hosts["host"]) == [hosts["server"]]


def test_the_registry_listens_where_pods_and_host_look_for_it():
    assert yaml.safe_load(FILES["registry.yaml"])["http"]["addr"] == SPEC.registry


def test_pods_get_addresses_of_the_pod_network():
    bridge = json.loads(FILES["cni/10-nacelle.conflist"])["plugins"][0]
    assert bridge["ipam"]["ranges"] == [[{"subnet": SPEC.pod_network}]]
    assert yaml.safe_load(FILES["proxy.yaml"])["clusterCIDR"] == SPEC.pod_network


def test_the_kubelet_keeps_pods_below_the_cluster_group_and_asks_our_dns():
    kubelet = yaml.safe_load(FILES["kubelet.yaml"])
    assert kubelet["cgroupRoot"] == f"/{SPEC.cgroup}"
    assert kubelet["clusterDNS"] == [SPEC.dns_ip]
    assert kubelet["failCgroupV1"] is False
    assert FILES["resolv.conf"] == ""


def test_programs_read_only_files_that_are_written():
    written = {str(SPEC.configuration / name) for name in FILES}
    for program in programs(SPEC, PARTS, {}, with_kwok=False):
        for word in program.argv:
            value = word.partition("=")[2] or word
            if value.startswith(str(SPEC.configuration)):
                assert value in written


def test_clients_of_the_api_wait_for_it_and_kwok_comes_only_on_request():
    plain = {p.name: p.needs_api for p in programs(SPEC, PARTS, {}, with_kwok=False)}
    assert plain == {
        "etcd": False,
        "containerd": False,
        "registry": False,
        "kube-apiserver": False,
        "kube-controller-manager": True,
        "kube-scheduler": True,
        "kubelet": True,
        "kube-proxy": True,
    }
    more = [p.name for p in programs(SPEC, PARTS, {}, with_kwok=True)]
    assert more == [*plain, "kwok"]


def test_the_cpu_level_becomes_a_label_of_the_node():
    labels = {"nacelle.dev/cpu-level": "x86-64-v3"}
    kubelet = {p.name: p.argv for p in programs(SPEC, PARTS, labels, with_kwok=False)}["kubelet"]
    assert "--node-labels=nacelle.dev/cpu-level=x86-64-v3" in kubelet
