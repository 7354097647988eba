"""The kinds of parts that the node is made of: how each is had."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nacelle_cluster import debian, golang
from nacelle_cluster.command import run
from nacelle_cluster.golang import GoCaches

SOURCES = Path(__file__).parent / "sources"
GO_SOURCES = SOURCES / "go"
KUBERNETES = "1.36.3"
KUBE_PROGRAMS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)
# By the package that each is built of.
OTHER_PROGRAMS = {
    "coredns": "./coredns",
    "kwok": "sigs.k8s.io/kwok/cmd/kwok",
    "local-path-provisioner": "github.com/rancher/local-path-provisioner",
    "metrics-server": "sigs.k8s.io/metrics-server/cmd/metrics-server",
}
# Without these Kubernetes' call themselves v0.0.0-master, and charts that ask for a version fail.
KUBE_VERSION_FLAGS = " ".join(
    f"-X k8s.io/component-base/version.{key}={value}"
    for key, value in {
        "gitVersion": f"v{KUBERNETES}",
        "gitMajor": "1",
        "gitMinor": "36",
        "gitCommit": "unknown",
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
    }.items()
)
KWOK_STAGES = "stages.yaml"
STAGES = (
    "node/fast/node-initialize",
    "node/heartbeat-with-lease/node-heartbeat-with-lease",
    "pod/fast/pod-ready",
    "pod/fast/pod-complete",
    "pod/fast/pod-delete",
)
# How long a Job's pod on a fake node "runs".
KWOK_JOB_MILLISECONDS = 3000


@dataclass(frozen=True)
class DebianPart:
    """Programs out of Debian packages, unpacked and not installed; suite None: the own release."""

    name: str
    version: str
    packages: tuple[str, ...]
    suite: str | None
    programs: tuple[str, ...]

    def build(self, target: Path, _caches: GoCaches) -> None:
        """Fills the folder `target`."""
        work = target.with_name(target.name + ".apt")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        debian.unpack(self.packages, target, suite=self.suite, work=work)
        if not (target / "bin").exists():  # releases after bookworm keep all programs in /usr
            (target / "bin").symlink_to("usr/bin")
        shutil.rmtree(work)


@dataclass(frozen=True)
class GoPart:
    """One program of a Go module as it was published."""

    name: str
    version: str
    package: str
    flags: str = ""
    tags: str = ""

    @property
    def programs(self) -> tuple[str, ...]:
        """The one program."""
        return (f"bin/{self.name}",)

    def build(self, target: Path, caches: GoCaches) -> None:
        """Fills the folder `target`."""
        (target / "bin").mkdir()
        module = f"{self.package}@v{self.version}"
        output = target / self.programs[0]
        golang.build_module(module, output, f"-s -w {self.flags}", self.tags, caches)


@dataclass(frozen=True)
class ProgramsPart:
    """Every Go program of the node but runc, from one module of ours.

    A module has one version of every package, so that what programs share is compiled once: beside
    Kubernetes' 2,760 packages the others have 209 of their own, of 3,876. Kubernetes' programs are
    one binary, called through links. kwok comes with what its fake nodes and pods do (its stages),
    without which a fake node stays unknown for ever.
    """

    name: str = "programs"
    programs: tuple[str, ...] = tuple(
        f"bin/{name}" for name in (*KUBE_PROGRAMS, *OTHER_PROGRAMS, KWOK_STAGES)
    )

    @property
    def version(self) -> str:
        """The Kubernetes version and a digest of our sources, so that an edit builds anew."""
        digest = hashlib.sha256()
        for file in sorted(path for path in GO_SOURCES.rglob("*") if path.is_file()):
            digest.update(file.read_bytes())
        return f"{KUBERNETES}-{digest.hexdigest()[:8]}"

    def build(self, target: Path, caches: GoCaches) -> None:
        """Fills the folder `target`."""
        made = target / "bin"
        made.mkdir()
        # One by one: some import one module by two spellings of its name, which no command takes.
        for name, package in ({"kube": "./kube"} | OTHER_PROGRAMS).items():
            flags = f"-s -w {KUBE_VERSION_FLAGS}"
            golang.build_here(GO_SOURCES, made / name, package, flags, caches)
        for name in KUBE_PROGRAMS:
            (made / name).symlink_to("kube")
        kwok = golang.folder_of(GO_SOURCES, "sigs.k8s.io/kwok", caches)
        stages = [_stage(kwok / "kustomize" / "stage" / f"{name}.yaml") for name in STAGES]
        (made / KWOK_STAGES).write_text(yaml.safe_dump_all(stages))


def _stage(file: Path) -> dict[str, Any]:
    stage: dict[str, Any] = yaml.safe_load(file.read_text())
    if file.stem == "pod-complete":
        stage["spec"]["delay"] = {"durationMilliseconds": KWOK_JOB_MILLISECONDS}
    return stage


@dataclass(frozen=True)
class PausePart:
    """The static program of the pods' sandboxes, from pause.c."""

    name: str = "pause"
    version: str = "1"
    programs: tuple[str, ...] = ("bin/pause",)

    def build(self, target: Path, _caches: GoCaches) -> None:
        """Fills the folder `target`."""
        (target / "bin").mkdir()
        run(["gcc", "-static", "-Os", "-s", "-o", target / "bin" / "pause", SOURCES / "pause.c"])


Part = DebianPart | GoPart | ProgramsPart | PausePart
