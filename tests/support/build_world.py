"""A namespace in memory for tests of build plans: objects as the API server would hold them."""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from nacelle_engine.progress import Progress
from nacelle_engine.recipe import Toolchain
from nacelle_engine.result import Accuracy, Failure, Prepared, Published, Result
from nacelle_operator.api.engine import Engine
from nacelle_operator.api.engine_build import EngineBuild
from nacelle_operator.build.observed import Claim, Observed
from nacelle_operator.build.plan import plan, plan_gone
from nacelle_operator.conditions import timestamp
from nacelle_operator.objects import names
from nacelle_operator.plan import Plan

TOOLCHAIN = Toolchain(builder_image="builder:1")
START = datetime(2026, 1, 1, tzinfo=UTC)
KEY = "ab" * 32
ACCURACY = Accuracy(
    mean_kl_divergence="0.020",
    p99_kl_divergence="0.1",
    top_one_agreement_percent="95.5",
    perplexity_increase_percent="1.0",
    positions=1000,
)
Manifest = dict[str, Any]


def spec(**changes: Any) -> Manifest:
    """The spec of a build for one CPU target, changed as told."""
    return {
        "modelName": "m",
        "model": {"persistentVolumeClaim": {"claimName": "models", "path": "p"}},
        "targets": [{"name": "cpu", "architecture": "x86-64-v3"}],
        "store": {"persistentVolumeClaim": {"claimName": "engines"}},
        **changes,
    }


def published(key: str = KEY, accuracy: Accuracy = ACCURACY) -> str:
    """The termination message of a pod that has published."""
    return Result(
        published=Published(
            engine_key=key,
            path=f"/store/engines/{key}",
            digest="cd" * 32,
            bytes=5,
            abi=TOOLCHAIN.abi,
            accuracy=accuracy,
            stage_seconds={"convert": 1},
        )
    ).message()


def prepared() -> str:
    """The termination message of a pod that has done what needs no GPU."""
    return Result(prepared=Prepared(until="convert")).message()


def failure(code: str, message: str, stage: str = "convert") -> str:
    """The termination message of a pod that has failed."""
    return Result(failure=Failure(code=code, message=message, stage=stage)).message()


@dataclass
class World:
    """Builds, Jobs, pods and Engines of namespace ns; `carry_out` does what a plan asks for."""

    now: datetime = START
    builds: dict[str, Manifest] = field(default_factory=dict)
    jobs: dict[str, Manifest] = field(default_factory=dict)
    pods: dict[str, Manifest] = field(default_factory=dict)
    engines: dict[str, Manifest] = field(default_factory=dict)
    claim_templates: dict[str, Manifest] = field(default_factory=dict)
    claims: dict[str, Claim] = field(default_factory=dict)
    progress: dict[str, Progress] = field(default_factory=dict)
    toolchain: Toolchain = TOOLCHAIN
    events: list[str] = field(default_factory=list)
    _uids: int = 0

    def uid(self) -> str:
        self._uids += 1
        return f"uid-{self._uids}"

    def write_build(self, name: str, changes: Mapping[str, Any] | None = None) -> None:
        """Create a build, or replace its spec: a new generation when it differs."""
        wanted = spec(**(changes or {}))
        known = self.builds.get(name)
        if known is None:
            meta = {"name": name, "namespace": "ns", "uid": self.uid(), "generation": 1}
            self.builds[name] = {"metadata": meta, "spec": wanted, "status": {}}
        elif known["spec"] != wanted:
            known["spec"] = wanted
            known["metadata"]["generation"] += 1

    def observed(self) -> Observed:
        pods: dict[str, list[Manifest]] = {}
        for pod in self.pods.values():
            pods.setdefault(pod["metadata"]["labels"][names.JOB_NAME], []).append(pod)
        return copy.deepcopy(
            Observed(
                jobs=self.jobs,
                pods=pods,
                engines={name: Engine.parse(raw) for name, raw in self.engines.items()},
                builds={name: EngineBuild.parse(raw) for name, raw in self.builds.items()},
                claims=self.claims,
                progress=self.progress,
            )
        )

    def plan(self, name: str = "b") -> Plan:
        raw = self.builds.get(name)
        if raw is None:
            return plan_gone(self.observed(), self.toolchain)
        return plan(EngineBuild.parse(raw), self.observed(), self.toolchain, self.now)

    def reconcile(self, name: str = "b") -> Plan:
        decided = self.plan(name)
        self.carry_out(name, decided)
        return decided

    def carry_out(self, name: str, decided: Plan, *, status: bool = True) -> None:
        """Do what the plan says; without `status` as if killed before the status was written."""
        for manifest in decided.creates:
            kept = {
                "Job": self.jobs,
                "Engine": self.engines,
                "ResourceClaimTemplate": self.claim_templates,
            }[manifest["kind"]]
            self._create(kept, json.loads(json.dumps(manifest)))
        for patch in decided.patches:
            found = (self.jobs if patch.kind == "Job" else self.engines).get(patch.name)
            if found:
                found["spec"].update(patch.fields["spec"])
        for deletion in decided.deletes:
            if self.jobs.get(deletion.name, {}).get("metadata", {}).get("uid") == deletion.uid:
                self.delete_job(deletion.name)
        if status and decided.status is not None and name in self.builds:
            self.builds[name]["status"] = json.loads(json.dumps(decided.status))
            self.events += [event.reason for event in decided.events]

    def _create(self, kept: dict[str, Manifest], manifest: Manifest) -> None:
        meta = manifest["metadata"]
        if meta["name"] not in kept:
            meta["uid"] = self.uid()
            kept[meta["name"]] = manifest

    def delete_job(self, name: str) -> None:
        del self.jobs[name]
        for pod in [
            p for p, m in self.pods.items() if m["metadata"]["labels"][names.JOB_NAME] == name
        ]:
            del self.pods[pod]

    def start_pod(self, job: str, phase: str = "Running") -> str:
        """What the Job controller and a kubelet do."""
        name = f"{job}-{self.uid()}"
        self.now += timedelta(seconds=1)
        self.pods[name] = {
            "metadata": {
                "name": name,
                "uid": name,
                "labels": {names.JOB_NAME: job},
                "creationTimestamp": timestamp(self.now),
            },
            "spec": {"nodeName": "node-1"},
            "status": {"phase": phase},
        }
        return name

    def end_pod(self, name: str, message: str, code: int = 0, reason: str = "") -> None:
        terminated = {"exitCode": code, "message": message, "reason": reason}
        self.pods[name]["status"] = {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [{"name": "builder", "state": {"terminated": terminated}}],
        }

    def finish_job(self, name: str, type_: str, message: str = "") -> None:
        condition = {"type": type_, "status": "True", "lastTransitionTime": timestamp(self.now)}
        if message:
            condition["message"] = message
        self.jobs[name]["status"] = {"conditions": [condition]}

    def only_job(self) -> str:
        (name,) = self.jobs
        return name

    def target(self, name: str = "b", index: int = 0) -> Manifest:
        target: Manifest = self.builds[name]["status"]["targets"][index]
        return target

    def condition(self, type_: str, name: str = "b") -> Manifest | None:
        conditions = self.builds[name]["status"]["conditions"]
        return next((c for c in conditions if c["type"] == type_), None)
