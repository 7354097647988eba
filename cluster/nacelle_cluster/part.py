"""The kinds of parts that the node is made of: how each is had."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from nacelle_cluster import debian, golang
from nacelle_cluster.command import run
from nacelle_cluster.golang import GoCaches

SOURCES = Path(__file__).parent / "sources"
KUBERNETES = "1.36.3"
KUBE_PROGRAMS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)
# Without these the programs call themselves v0.0.0-master, and charts that ask for a version fail.
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
KWOK_STAGES = (
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
    """One program of a published Go module."""

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
class KubePart:
    """All of Kubernetes' programs in one binary of our own main package, called through links."""

    name: str = "kubernetes"

    @property
    def version(self) -> str:
        """The Kubernetes version and a digest of our sources, so that an edit builds anew."""
        digest = hashlib.sha256()
        for file in sorted((SOURCES / "kube").iterdir()):
            digest.update(file.read_bytes())
        return f"{KUBERNETES}-{digest.hexdigest()[:8]}"

    @property
    def programs(self) -> tuple[str, ...]:
        """The links."""
        return tuple(f"bin/{name}" for name in KUBE_PROGRAMS)

    def build(self, target: Path, caches: GoCaches) -> None:
        """Fills the folder `target`."""
        (target / "bin").mkdir()
        flags = f"-s -w {KUBE_VERSION_FLAGS}"
        golang.build_here(SOURCES / "kube", target / "bin" / "kube", flags, caches)
        for program in self.programs:
            (target / program).symlink_to("kube")


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


@dataclass(frozen=True)
class KwokPart:
    """kwok, and what its fake nodes and pods do (its stages), from the files of its own module.

    The bare program has no stages built in, and without them a fake node stays unknown for ever.
    """

    name: str = "kwok"
    version: str = "0.8.0"
    programs: tuple[str, ...] = ("bin/kwok", "bin/stages.yaml")

    def build(self, target: Path, caches: GoCaches) -> None:
        """Fills the folder `target`."""
        (target / "bin").mkdir()
        module = f"sigs.k8s.io/kwok/cmd/kwok@v{self.version}"
        golang.build_module(module, target / "bin" / "kwok", "-s -w", "", caches)
        stages = []
        for name in KWOK_STAGES:
            file = caches.modules / f"sigs.k8s.io/kwok@v{self.version}/kustomize/stage/{name}.yaml"
            stage = yaml.safe_load(file.read_text())
            if name == "pod/fast/pod-complete":
                stage["spec"]["delay"] = {"durationMilliseconds": KWOK_JOB_MILLISECONDS}
            stages.append(stage)
        (target / "bin" / "stages.yaml").write_text(yaml.safe_dump_all(stages))


Part = DebianPart | GoPart | KubePart | PausePart | KwokPart
