"""A cluster in memory whose Deployment controller replaces pods one round at a time.

It does what Kubernetes documents of Deployments: a ReplicaSet a template, new pods up to maxSurge
above the number, old ones away as long as the number less maxUnavailable is available, unready
ones first. Pods of revisions in `broken` never answer.
"""

import copy
import random
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from serving_cases import IMAGES, NOW, build, engine
from serving_cluster import ServingCluster, edited

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.conditions import is_true
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.kinds import HTTP_ROUTE
from nacelle_operator.objects.tally import Tally
from nacelle_operator.plan import Plan
from nacelle_operator.seen import Seen

Manifest = dict[str, Any]
KEYS = tuple(digit * 64 for digit in "123")
NAMES = tuple(f"eng-{key[:16]}" for key in KEYS)
DEADLINE = 12


@dataclass
class Pod:
    """One pod: of which Deployment (by uid) and template, and whether it answers."""

    name: str
    owner: str
    template: Manifest
    ready: bool = False
    crashes: int = 0
    pending: bool = False

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.template["metadata"]["labels"])

    @property
    def engine(self) -> str:
        return self.labels["nacelle.dev/engine"]


@dataclass
class RolloutWorld(ServingCluster):
    """The objects around one InferenceDeployment, with pods that come and go."""

    broken: set[str] = field(default_factory=set)
    now: datetime = NOW
    room: int | None = None
    knows_routes: bool = True
    has_gateway: bool = True
    lists_endpoints: bool = True
    tally: Tally | None = None
    fleet: list[Pod] = field(default_factory=list)
    made: int = 0
    stuck: dict[str, int] = field(default_factory=dict)
    dice: random.Random = field(default_factory=lambda: random.Random(1))

    def observe(self) -> Observed:
        """With the route, which is read live."""
        observed = super().observe()
        route = self.objects.get(("HTTPRoute", "chat")) if self.knows_routes else None
        seen = {**observed.unwatched, HTTP_ROUTE: Seen(self.knows_routes, route)}
        return replace(observed, unwatched=seen, tally=self.tally)

    def look(self) -> Plan:
        """One reconcile; Deployments that are deleted or scaled down lose their pods at once."""
        made = self.reconcile(self.now)
        owners = {m["metadata"]["uid"] for (kind, _), m in self.objects.items() if _is(kind)}
        self.fleet = [pod for pod in self.fleet if pod.owner in owners]
        for deployment in self._deployments():
            self._scale_down(deployment)
        self._tell()
        return made

    def controllers(self, seconds: int = 10) -> None:
        """The Deployment controller, the scheduler and the kubelets do one round of their work."""
        self.now += timedelta(seconds=seconds)
        if self.lists_endpoints:
            self._list_endpoints()
        for pod in self.fleet:
            running = [other for other in self.fleet if not other.pending]
            pod.pending = pod.pending and self.room is not None and len(running) >= self.room
            if pod.pending:
                continue
            if pod.engine in self.broken:
                pod.ready, pod.crashes = False, pod.crashes + 1
            elif self.dice.random() < 0.7:
                pod.ready = True
        for deployment in self._deployments():
            self._replace(deployment)
        if self.has_gateway:
            taken = {"parents": [{"conditions": [{"type": "Accepted", "status": "True"}]}]}
            for (kind, _), route in self.objects.items():
                if kind == "HTTPRoute":
                    route["status"] = taken
        self._tell()

    def round(self) -> Plan:
        """A look at the world, then the world's own work."""
        made = self.look()
        self.controllers()
        return made

    def selected(self) -> list[Pod]:
        """The pods that the Service sends requests to."""
        service = self.objects.get(("Service", "chat"))
        wanted = service["spec"]["selector"].items() if service else ()
        return [pod for pod in self.fleet if pod.ready and service and wanted <= pod.labels.items()]

    def _list_endpoints(self) -> None:
        """The endpoints of the slots' Services: a round late."""
        for place in [place for place in self.objects if place[0] == "EndpointSlice"]:
            del self.objects[place]
        for (kind, name), service in [*self.objects.items()]:
            if kind == "Service" and name != "chat":
                wanted = service["spec"]["selector"].items()
                pods = [pod for pod in self.fleet if wanted <= pod.labels.items()]
                labels = {**service["metadata"]["labels"], "kubernetes.io/service-name": name}
                endpoints = [
                    {"targetRef": {"name": pod.name}, "conditions": {"ready": pod.ready}}
                    for pod in pods
                ]
                for family in ("ipv4", "ipv6"):
                    meta = {"name": f"{name}-{family}", "labels": labels}
                    self.objects["EndpointSlice", meta["name"]] = {
                        "metadata": meta,
                        "endpoints": endpoints,
                    }

    def _deployments(self) -> list[Manifest]:
        return [m for (kind, _), m in sorted(self.objects.items()) if _is(kind)]

    def _mine(self, deployment: Manifest) -> list[Pod]:
        return [pod for pod in self.fleet if pod.owner == deployment["metadata"]["uid"]]

    def _scale_down(self, deployment: Manifest) -> None:
        """A smaller number takes unready pods first, and those of the old template."""
        spec = deployment["spec"]
        surge = spec["strategy"]["rollingUpdate"]["maxSurge"]
        mine = self._mine(deployment)
        rolling = any(pod.template != spec["template"] for pod in mine)
        most = spec["replicas"] + (surge if rolling and spec["replicas"] else 0)
        mine.sort(key=lambda pod: (pod.ready, pod.template == spec["template"]))
        for pod in mine[: max(0, len(mine) - most)]:
            self.fleet.remove(pod)

    def _replace(self, deployment: Manifest) -> None:
        spec = deployment["spec"]
        pace, wanted = spec["strategy"]["rollingUpdate"], spec["replicas"]
        mine = self._mine(deployment)
        new = [pod for pod in mine if pod.template == spec["template"]]
        old = [pod for pod in mine if pod.template != spec["template"]]
        if spec.get("paused"):
            for _ in range(wanted - len(mine)):
                self._start(deployment, old[0].template if old else spec["template"])
            return
        spare = len([p for p in mine if p.ready]) - (wanted - pace["maxUnavailable"])
        for pod in sorted(old, key=lambda p: p.ready):
            if not pod.ready or spare > 0:
                spare -= pod.ready
                self.fleet.remove(pod)
                old.remove(pod)
        most = wanted + (pace["maxSurge"] if old else 0)
        for _ in range(min(wanted - len(new), most - len(new) - len(old))):
            self._start(deployment, spec["template"])

    def _start(self, deployment: Manifest, template: Manifest) -> None:
        self.made += 1
        name = f"{deployment['metadata']['name']}-{self.made}"
        pod = Pod(name, deployment["metadata"]["uid"], copy.deepcopy(template))
        pod.pending = self.room is not None
        self.fleet.append(pod)

    def _tell(self) -> None:
        """Statuses of Deployments and pods."""
        for deployment in self._deployments():
            spec, mine = deployment["spec"], self._mine(deployment)
            updated = [pod for pod in mine if pod.template == spec["template"]]
            ready = [pod for pod in mine if pod.ready]
            paused = spec.get("paused", False)
            done = len(mine) == len(ready) == len(updated) == spec["replicas"]
            key = deployment["metadata"]["uid"]
            before = deployment.get("status", {})
            figures = {
                "observedGeneration": deployment["metadata"]["generation"],
                "replicas": len(mine),
                "readyReplicas": len(ready),
                "updatedReplicas": len(updated),
            }
            same = {**before, "conditions": None} == {**figures, "conditions": None}
            self.stuck[key] = self.stuck.get(key, 0) + 1 if same and not done and not paused else 0
            reason = "ProgressDeadlineExceeded" if self.stuck[key] > DEADLINE else "R"
            conditions = [{"type": "Progressing", "status": "True", "reason": reason}]
            deployment["status"] = {**figures, "conditions": conditions}
        self.pods = [_manifest(pod) for pod in self.fleet]


def _is(kind: str) -> bool:
    return kind == "Deployment"


def _manifest(pod: Pod) -> Manifest:
    end = {"exitCode": 1, "message": "", "reason": "Error"}
    scheduled = {"type": "PodScheduled", "status": "True"}
    if pod.pending:
        scheduled |= {"reason": "Unschedulable", "message": "0/1 nodes are available"}
    crashed = {
        "name": "runtime",
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": end},
        "restartCount": pod.crashes,
    }
    return {
        "metadata": {"name": pod.name, "labels": pod.labels},
        "spec": {"nodeName": "n1"},
        "status": {
            "conditions": [{"type": "Ready", "status": str(pod.ready)}, scheduled],
            "containerStatuses": [crashed] if pod.crashes else [],
        },
    }


def serving(resource: InferenceDeployment, **fields: Any) -> RolloutWorld:
    """The resource once it serves the first engine, and all is done; two more are published."""
    world = RolloutWorld(
        resource=resource,
        engines={engine(key).metadata.name: engine(key) for key in KEYS},
        build=build(KEYS[0]),
        images=dict(IMAGES),
        **fields,
    )
    for _ in range(60):
        world.round()
        if is_true(world.resource.status.conditions, "Ready"):
            return world
    raise AssertionError(f"it never served: {world.resource.status}")


def wants(world: RolloutWorld, number: int, **spec: Any) -> None:
    """Edit the spec so that it names the engine of that number, from 0."""
    spec = {"engine": {"engineRef": {"name": NAMES[number]}}, **spec}
    world.resource = edited(world.resource, **spec)


def rollout(world: RolloutWorld, **changed: Any) -> None:
    """Edit fields of spec.rollout; a strategy brings its own fields and takes the others away."""
    raw = world.resource.spec.rollout.plain()
    if "strategy" in changed:
        raw = {k: v for k, v in raw.items() if k not in ("blueGreen", "canary")}
    world.resource = edited(
        world.resource, rollout={k: v for k, v in {**raw, **changed}.items() if v is not None}
    )
