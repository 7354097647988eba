"""kill -9 of the operator at many moments: in the end all is as it is without kills.

Stories run side by side, each in a namespace and with an operator of its own. In the first part of
a story a build's engine comes to be served; in the second the build is edited and the new engine is
rolled out, while at every look at least as many pods as asked for must be ready behind the Service.
"""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import kwok
import pytest
from chaos_story import REPLICAS, STRATEGIES, TARGET, ChaosStory, prepared, published
from serving_story import IMAGES

pytestmark = pytest.mark.chaos
NODES = "/api/v1/nodes"
SIDE_BY_SIDE = 4
KILLS_A_STORY = 4
MERGE = "application/merge-patch+json"


def stories_of(config: pytest.Config) -> int:
    """How many stories it takes for the kills that are asked for."""
    return -(-int(config.getoption("--chaos-kills")) // KILLS_A_STORY)


@pytest.fixture(scope="module")
def gpus(
    control_plane: Any, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[None]:
    """Fake nodes of one GPU with room for all pods of the stories, and a real scheduler.

    Stories that have been told keep theirs: nobody deletes what is in a namespace here.
    """
    folder: Path = tmp_path_factory.mktemp("kwok")
    told = len(STRATEGIES) + stories_of(pytestconfig)
    names = [f"chaos-{number}" for number in range(8 * SIDE_BY_SIDE + REPLICAS * told)]
    control_plane.start_scheduler()
    try:
        ends = {TARGET: published()}
        with kwok.running(control_plane.kubeconfig, folder, ends, prepared()):
            for name in names:
                node = kwok.gpu_node(name, "NVIDIA-H100-80GB-HBM3", "9.0", 81559)
                control_plane.call("POST", NODES, node)
                # Nobody else takes the taint of a node that is not ready yet away.
                control_plane.call("PATCH", f"{NODES}/{name}", {"spec": {"taints": None}}, MERGE)
            yield
            for name in names:
                control_plane.call("DELETE", f"{NODES}/{name}")
    finally:
        control_plane.kill("scheduler")


class Killer:
    """An operator for one namespace, started anew whenever it has been killed."""

    def __init__(
        self, start: Callable[..., Any], until: Callable[..., Any], namespace: str, chance: Random
    ) -> None:
        self._start = start
        self._until = until
        self._namespace = namespace
        self._chance = chance
        self._names = (f"pod-{number}" for number in itertools.count())
        self._name = next(self._names)
        self.operator = self._begin()
        self.kills = 0

    def __call__(self, seconds: float) -> None:
        """Kill it at random moments of the next seconds, half of a story's kills."""
        count = KILLS_A_STORY // 2
        began = time.monotonic()
        for moment in sorted(self._chance.uniform(0.0, seconds) for _ in range(count)):
            time.sleep(max(0.0, began + moment - time.monotonic()))
            self.operator.kill()
            self.kills += 1
            # Mostly its container starts again in the same pod; at times there is another pod,
            # which waits the Lease out.
            if self._chance.random() < 0.2:
                self._name = next(self._names)
            self.operator = self._begin()
        # The last one must be at work before anything counts as the end.
        self._until(lambda: "is held by" in self.operator.log.read_text(), seconds=120)

    def _begin(self) -> Any:
        return self._start(
            NACELLE_RUNTIME_IMAGES=IMAGES,
            NACELLE_NAMESPACES=self._namespace,
            POD_NAMESPACE=self._namespace,
            POD_NAME=self._name,
        )


@pytest.fixture
def tell(
    control_plane: Any, gpus: None, start_operator: Any, make_namespace: Any, until: Any
) -> Callable[..., tuple[Counter[str], int]]:
    """Tells one story in a fresh namespace; what is there then, and how often it was killed."""
    lock = threading.Lock()

    def told(name: str, strategy: str, chance: Random, disturbed: bool) -> tuple[Counter[str], int]:
        namespace = make_namespace(name)
        bound_claim(control_plane, namespace)
        with lock:
            killer = Killer(start_operator, until, namespace.name, chance)
        story = ChaosStory(namespace, until, strategy)
        found = story.run(killer if disturbed else lambda _: None)
        assert killer.operator.stop() == 0
        return found, killer.kills

    return told


def bound_claim(plane: Any, namespace: Any) -> None:
    """A claim that the scheduler takes for bound."""
    common = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    reference = {"namespace": namespace.name, "name": "engines"}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": namespace.name},
        "spec": {
            **common,
            "capacity": {"storage": "1Gi"},
            "hostPath": {"path": "/nowhere"},
            "claimRef": reference,
        },
    }
    plane.call("POST", "/api/v1/persistentvolumes", volume)
    bound = {"pv.kubernetes.io/bind-completed": "yes"}
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "engines", "annotations": bound},
        "spec": {
            **common,
            "resources": {"requests": {"storage": "1Gi"}},
            "volumeName": namespace.name,
        },
    }
    path = namespace.path("v1", "persistentvolumeclaims")
    made = plane.call("POST", path, claim)
    plane.call("PUT", f"{path}/engines/status", {**made, "status": {"phase": "Bound"}})


def test_killed_at_any_moment_all_ends_as_without(
    tell: Callable[..., tuple[Counter[str], int]], request: pytest.FixtureRequest
) -> None:
    kills = int(request.config.getoption("--chaos-kills"))
    seed = request.config.getoption("--chaos-seed")
    undisturbed = {
        strategy: tell(f"rest-{strategy.lower()}", strategy, Random(0), False)[0]
        for strategy in STRATEGIES
    }
    numbers = range(stories_of(request.config))
    strategies = list(itertools.islice(itertools.cycle(STRATEGIES), len(numbers)))

    def run(number: int) -> tuple[Counter[str], int]:
        chance = Random(f"{seed}/{number}")
        return tell(f"chaos-{seed}-{number}", strategies[number], chance, True)

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        stories = list(pool.map(run, numbers))
    assert sum(killed for _, killed in stories) >= kills
    for number, (found, _) in enumerate(stories):
        wanted = undisturbed[strategies[number]]
        assert found == wanted, f"story {number} of seed {seed}: {found - wanted} {wanted - found}"
