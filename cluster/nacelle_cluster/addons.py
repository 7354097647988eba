"""What runs in the cluster itself: names, metrics, volumes; and the images of all that."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from nacelle_cluster.api import ApiServer
from nacelle_cluster.command import run_with_input
from nacelle_cluster.configuration import PAUSE_IMAGE
from nacelle_cluster.containerd import Containerd
from nacelle_cluster.images import ImageContent, Layout, write_layout
from nacelle_cluster.part import Part
from nacelle_cluster.parts import PAUSE, PROGRAMS, REGISTRY, PartStore
from nacelle_cluster.spec import ClusterSpec
from nacelle_cluster.waiting import wait_for

MANIFESTS = Path(__file__).parent / "manifests"


@dataclass(frozen=True)
class PartImage:
    """An image over scratch that holds one program; `links` are further names of it in /bin."""

    name: str
    part: Part
    program: str
    links: tuple[str, ...] = ()

    def content(self, parts: PartStore, scratch: Path) -> ImageContent:
        """What to write into the image; links are made in `scratch`."""
        files = {f"bin/{self.program}": parts.program(self.part, self.program)}
        for link in self.links:
            path = scratch / link
            path.unlink(missing_ok=True)
            path.symlink_to(self.program)
            files[f"bin/{link}"] = path
        config = {"Entrypoint": [f"/bin/{self.program}"], "Env": ["PATH=/bin"]}
        return ImageContent(files, config)

    def layout(self, parts: PartStore, home: Path) -> Layout:
        """The image, written once for each version of its part."""
        folder = home / "images" / f"{self.program}-{self.part.version}"
        if folder.is_dir():
            return Layout(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = folder.with_name(f".{folder.name}.links")
        scratch.mkdir(exist_ok=True)
        layout = write_layout(self.content(parts, scratch), folder)
        for link in self.links:
            (scratch / link).unlink()
        scratch.rmdir()
        return layout


IMAGES = (
    PartImage(PAUSE_IMAGE, PAUSE, "pause"),
    PartImage("localhost/coredns:1", PROGRAMS, "coredns"),
    PartImage("localhost/metrics-server:1", PROGRAMS, "metrics-server"),
    PartImage("localhost/local-path-provisioner:1", PROGRAMS, "local-path-provisioner"),
    PartImage("localhost/busybox:1", REGISTRY, "busybox", links=("sh", "mkdir", "rm")),
)
DEPLOYMENTS = (
    ("kube-system", "coredns"),
    ("kube-system", "metrics-server"),
    ("local-path-storage", "local-path-provisioner"),
)
METRICS_API = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io"


def write_images(parts: PartStore, home: Path) -> list[tuple[str, Layout]]:
    """Every image by name."""
    return [(image.name, image.layout(parts, home)) for image in IMAGES]


def import_images(images: list[tuple[str, Layout]], containerd: Containerd) -> None:
    """Puts the images into the node's store."""
    wait_for("containerd answers", containerd.answers, seconds=30)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda image: containerd.import_image(image[1], image[0]), images))


def apply_manifests(spec: ClusterSpec, parts: PartStore) -> None:
    """Applies every add-on's objects."""
    texts = [path.read_text() for path in sorted(MANIFESTS.glob("*.yaml"))]
    document = Template("\n---\n".join(texts)).substitute(dns_ip=spec.dns_ip)
    kubectl = [str(parts.program(PROGRAMS, "kubectl")), f"--kubeconfig={spec.kubeconfig}"]
    options = ["--server-side", "--force-conflicts", "-f", "-"]
    run_with_input([*kubectl, "apply", *options], document)


def unready(api: ApiServer) -> list[str]:
    """The add-ons that do not serve yet."""
    waiting = []
    for namespace, name in DEPLOYMENTS:
        found = api.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
        if not found or not found.get("status", {}).get("availableReplicas"):
            waiting.append(f"deployment {namespace}/{name}")
    if not _condition(api.get(METRICS_API), "Available"):
        waiting.append("metrics API")
    return waiting


def _condition(found: dict[str, Any] | None, kind: str) -> bool:
    """Whether the object exists and has the condition as True."""
    conditions = (found or {}).get("status", {}).get("conditions", [])
    return any(c["type"] == kind and c["status"] == "True" for c in conditions)
