"""A real cluster comes up, works, survives what is killed, and goes without a trace."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from nacelle_cluster.addons import IMAGES
from nacelle_cluster.cluster import Embedded
from nacelle_cluster.connection import EmbeddedCluster, embedded
from nacelle_cluster.errors import ClusterError
from nacelle_cluster.health import ended, problems
from nacelle_cluster.machine import CHANGED_SETTINGS
from nacelle_cluster.parts import PARTS, REGISTRY, PartStore
from nacelle_cluster.processes import node_pid
from nacelle_cluster.settings import Settings, read_settings
from nacelle_cluster.waiting import wait_for

pytestmark = pytest.mark.e2e

POD = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: probe}
spec:
  restartPolicy: Never
  securityContext: {runAsUser: 10001, fsGroup: 10001}
  nodeSelector: {kubernetes.io/arch: amd64}
  containers:
    - name: probe
      image: IMAGE
      command: [/bin/busybox, sh, -c]
      args:
        - |
          busybox nslookup kubernetes.default.svc.cluster.local && busybox touch /data/file
      volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
"""


def output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout


def trace_of(text: str) -> list[str]:
    """The processes and mounts that name `text`."""
    seen = [output("ps", "-ww", "-eo", "pid,args"), Path("/proc/self/mountinfo").read_text()]
    return [line for lines in seen for line in lines.splitlines() if text in line]


def settings_of_the_machine() -> dict[str, str]:
    paths = [Path("/proc/sys") / name for name in CHANGED_SETTINGS]
    return {str(path): path.read_text() for path in paths}


def clusters_running() -> list[Path]:
    return [path for path in Path("/run/nacelle").glob("*") if path.name.isdigit()]


@pytest.fixture(scope="module")
def settings():
    """The usual cache, so that its built parts serve; a name of its own."""
    return Settings(read_settings().cache, f"test-{os.getpid()}")


@pytest.fixture(scope="module")
def commands(settings):
    commands = Embedded(settings.name, settings.home)
    yield commands
    commands.down(wipe=True)


@pytest.fixture(scope="module")
def settings_before(commands):
    """The machine's settings as they were, or None when another cluster has changed them."""
    return None if clusters_running() else settings_of_the_machine()


@pytest.fixture(scope="module")
def cluster(settings, commands, settings_before) -> EmbeddedCluster:
    commands.up(print)
    return embedded(settings)


def kubectl(cluster: EmbeddedCluster, *words: str, stdin: str = "") -> str:
    command = [str(cluster.kubectl), f"--kubeconfig={cluster.kubeconfig}", *words]
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, check=False, timeout=90
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_pod_finds_names_volumes_and_a_pushed_image(cluster, commands):
    (busybox,) = [image for image in IMAGES if image.program == "busybox"]
    layout = busybox.layout(commands.parts, commands.home)
    image = cluster.push_image(layout, "team/busybox", "1")
    assert image == f"{cluster.registry.name}/team/busybox:1"
    kubectl(cluster, "apply", "-f", "-", stdin=POD.replace("IMAGE", image))
    phase = "jsonpath={.status.phase}=Succeeded"
    kubectl(cluster, "wait", "pod/probe", f"--for={phase}", "--timeout=60s")
    assert f"Address: {cluster.spec.api_ip}" in kubectl(cluster, "logs", "probe")


def test_the_node_tells_its_cpu_level_and_its_use(cluster):
    (node,) = yaml.safe_load(kubectl(cluster, "get", "nodes", "-o", "yaml"))["items"]
    assert node["metadata"]["name"] == cluster.spec.node_name
    assert node["metadata"]["labels"]["nacelle.dev/cpu-level"] in {"x86-64-v3", "x86-64-v4"}
    assert cluster.spec.node_name in kubectl(cluster, "top", "node")


def test_commands_run_in_the_node_and_their_failure_is_told(cluster):
    assert cluster.spec.node_ip in cluster.run_in_node(["ip", "-o", "address"])
    with pytest.raises(ClusterError, match="exit code"):
        cluster.run_in_node(["false"])


def test_up_again_is_nothing_to_do(cluster, commands):
    pid, told = node_pid(cluster.spec), []
    commands.up(told.append)
    assert (node_pid(cluster.spec), told) == (pid, [f"cluster {commands.name} is up already"])


def test_a_killed_program_is_named_and_the_next_up_mends_it(cluster, commands):
    (etcd,) = [line.split()[0] for line in trace_of(f"--data-dir={commands.folder}/etcd")]
    os.kill(int(etcd), signal.SIGKILL)
    wait_for("etcd's end noted", lambda: ended(cluster.spec), seconds=20)
    said = f"etcd ended with -9: see {cluster.spec.logs}/etcd.log"
    assert problems(cluster.spec) == [said]
    commands.up(print)
    assert problems(cluster.spec) == []


def test_a_killed_first_process_leaves_what_check_lists_and_up_mends(cluster, commands):
    os.kill(node_pid(cluster.spec), signal.SIGKILL)
    assert any(line.startswith("control group") for line in commands.leftovers())
    commands.up(print)
    assert problems(cluster.spec) == []


def test_a_program_that_does_not_start_ends_up_with_its_last_words(cluster, commands, tmp_path):
    store = PartStore(tmp_path)
    for part in PARTS:
        store.folder(part).parent.mkdir(exist_ok=True)
        store.folder(part).symlink_to(commands.parts.folder(part))
    store.folder(REGISTRY).unlink()
    for path in REGISTRY.programs:
        program = store.folder(REGISTRY) / path
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\necho cannot listen >&2; exit 3\n")
        program.chmod(0o755)
    broken = Embedded(commands.name, tmp_path)
    with pytest.raises(ClusterError, match=r"registry ended with 3\n(?s:.*)cannot listen"):
        broken.up(print)
    assert broken.leftovers() == []


def test_down_leaves_no_trace(cluster, commands, settings_before):
    commands.down(wipe=False)
    assert commands.leftovers() == []
    assert trace_of(str(commands.folder)) == []
    assert list(Path("/sys/fs/cgroup").glob(f"**/{cluster.spec.cgroup}")) == []
    network = output("ip", "-o", "link") + output("ip", "route")
    assert not [word for word in (cluster.spec.link, *cluster.spec.networks) if word in network]
    if settings_before and not clusters_running():
        assert settings_of_the_machine() == settings_before
    assert (commands.folder / "registry").is_dir()
    commands.down(wipe=True)
    assert not commands.folder.exists()
