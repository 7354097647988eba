"""A cluster with Nacelle installed: what the demo and the end-to-end tests stand on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from nacelle_cluster.connection import Cluster, connect
from nacelle_demo.errors import DemoError
from nacelle_demo.helm import Helm
from nacelle_demo.kubectl import Kubectl, Manifest, condition
from nacelle_demo.model_claim import (
    ENGINES_CLAIM,
    MODELS_CLAIM,
    claim,
    images_of,
    loader_job,
    namespace,
)
from nacelle_demo.settings import CHECKOUT, Settings
from nacelle_demo.waiting import wait_for
from nacelle_engine.abi import ABI
from nacelle_images.publish import Publisher

Say = Callable[[str], None]
RELEASE = "nacelle"
OPERATOR_NAMESPACE = "nacelle-system"
INSTALL_SECONDS = 120
# Where helm keeps a revision that it has begun and not ended.
PENDING = f"owner=helm,name={RELEASE},status in (pending-install,pending-upgrade,pending-rollback)"


@dataclass(frozen=True)
class Stack:
    """One cluster, the images in its registry, kubectl and helm on it."""

    cluster: Cluster
    kubectl: Kubectl
    helm: Helm
    publisher: Publisher
    images: Mapping[str, str]

    def install_operator(self) -> None:
        """Install or upgrade the chart, and wait until the operator is ready."""
        self._drop_pending()
        self.helm.run(
            "upgrade", "--install", RELEASE, str(CHECKOUT / "charts" / "nacelle"),
            "--namespace", OPERATOR_NAMESPACE, "--create-namespace",
            "--values", "-", "--wait", "--timeout", f"{INSTALL_SECONDS}s",
            stdin=yaml.safe_dump(self._values()),
        )  # fmt: skip

    def _drop_pending(self) -> None:
        """Forget a revision that a helm left pending which was killed: no later one would go on.

        One that is still at work is waited for.
        """

        def none_is_pending() -> bool:
            return not self.kubectl.items("secret", OPERATOR_NAMESPACE, PENDING)

        try:
            wait_for("helm at work elsewhere", none_is_pending, deadline=INSTALL_SECONDS)
        except DemoError:
            self.kubectl.run("-n", OPERATOR_NAMESPACE, "delete", "secret", "-l", PENDING)

    def prepare_namespace(self, name: str) -> None:
        """A restricted namespace with the claims for models and engines."""
        self.kubectl.apply(
            namespace(name), claim(MODELS_CLAIM, name, "2Gi"), claim(ENGINES_CLAIM, name, "4Gi")
        )

    def load_models(self, namespace: str, checkpoints: Mapping[str, Path]) -> None:
        """Bring checkpoints into the claim models, each as the folder of its name."""
        for name, folder in checkpoints.items():
            image = self.publisher.publish_model(folder, name)
            builder = self.images["builder"]
            self._start(loader_job(name, namespace, model_image=image, builder_image=builder))
        for name in checkpoints:
            self._await_loaded(namespace, f"load-{name}")

    def _start(self, job: Manifest) -> None:
        """Start a Job, unless one of an earlier run with the same images did it or is at it.

        A Job that failed is never run again, and the images of one that is there cannot be changed.
        """
        name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
        before = self.kubectl.get("job", name, namespace)
        if before and (condition(before, "Failed") or images_of(before) != images_of(job)):
            delete = ("delete", "job", name, "--cascade=foreground", "--timeout=60s")
            self.kubectl.run("-n", namespace, *delete, deadline=90)
        self.kubectl.apply(job)

    def _await_loaded(self, namespace: str, job: str) -> None:
        def look() -> bool:
            found = self.kubectl.get("job", job, namespace)
            if condition(found, "Failed"):
                log = self.kubectl.run("-n", namespace, "logs", f"job/{job}", "--tail=5")
                raise DemoError(f"job {job} failed: {log.strip()}")
            return condition(found, "Complete") is not None

        wait_for(f"job {job}", look, deadline=300)

    def _values(self) -> dict[str, object]:
        return {
            "image": {"reference": self.images["operator"]},
            "builder": {"image": {"reference": self.images["builder"]}},
            "runtimes": {ABI: self.images["runtime"]},
            # Built on demand; who asks for it names it in spec.frontends.triton.image.
            "triton": {"image": {"repository": ""}},
        }


def bring_up(settings: Settings, say: Say) -> Cluster:
    """The user's cluster, or the embedded one, up."""
    return connect(settings.cluster, lambda line: say(f"  {line}"))


def publish_images(settings: Settings, cluster: Cluster, say: Say) -> Stack:
    """Every image in the cluster's registry, built where it lacks one."""
    publisher = Publisher(settings.images, cluster.registry, lambda line: say(f"  {line}"))
    images = publisher.publish()
    kubectl = Kubectl(cluster.kubeconfig, str(cluster.kubectl))
    return Stack(cluster, kubectl, Helm(cluster.kubeconfig), publisher, images)
