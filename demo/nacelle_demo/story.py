"""The demo: a model becomes an engine, the engine a service, and the service answers."""

import sys
import time
from pathlib import Path
from typing import Any

import yaml

from nacelle_builder.fetch.demo_model import NAME as MODEL
from nacelle_builder.fetch.fetch import fetch
from nacelle_builder.settings import HubAccess
from nacelle_cluster.cluster import Embedded
from nacelle_cluster.connection import external
from nacelle_demo.build_progress import follow_build
from nacelle_demo.errors import DemoError
from nacelle_demo.helm import Helm
from nacelle_demo.kubectl import Kubectl, condition, is_true
from nacelle_demo.question import Endpoint
from nacelle_demo.settings import CHECKOUT, Settings
from nacelle_demo.stack import OPERATOR_NAMESPACE, RELEASE, Say, Stack, bring_up, publish_images
from nacelle_demo.timeline import Timeline
from nacelle_demo.waiting import wait_for

NAMESPACE = "nacelle-demo"
NAME = "smollm2"
SAMPLE = "samples/smollm2.yaml"
QUESTION = "What is the capital of France?"
BUILD_SECONDS = 1200.0
READY_SECONDS = 180.0


def tell(settings: Settings, say: Say) -> None:
    """From nothing to the answer, and where the time went."""
    time_of = Timeline(say)
    with time_of.step("A Kubernetes cluster"):
        cluster = bring_up(settings, say)
    with time_of.step("Images of the operator, the builder and the runtime"):
        stack = publish_images(settings, cluster, say)
    with time_of.step(f"The model {MODEL}"):
        checkpoint = settings.models / MODEL
        fetch(MODEL, checkpoint, HubAccess.from_environment())
        say(f"  {checkpoint}")
    with time_of.step("The operator, by helm"):
        stack.install_operator()
    with time_of.step("The model, from its image into the claim `models`"):
        stack.prepare_namespace(NAMESPACE)
        stack.load_models(NAMESPACE, {NAME: checkpoint})
    with time_of.step("The engine, built"):
        _apply_sample(stack, say)
        build = follow_build(stack.kubectl, NAME, NAMESPACE, deadline=BUILD_SECONDS)
        _say_accuracy(build, say)
    with time_of.step("The deployment, ready"):
        _await_deployment(stack)
    with time_of.step(f"The answer to: {QUESTION}"):
        _ask(stack)
    say(f"\nWhere the time went\n{time_of.table()}")
    _say_next(stack, say)


def undo(settings: Settings, say: Say) -> None:
    """Take down the embedded cluster without a trace; on a cluster of yours, the demo's objects."""
    given = external(settings.cluster)
    if given is None:
        Embedded(settings.cluster.name, settings.cluster.home).down(wipe=False)
        say(f"cluster {settings.cluster.name} is down; images and programs are kept for next time")
        return
    kubectl = Kubectl(given.kubeconfig, str(given.kubectl))
    kubectl.run("delete", "namespace", NAMESPACE, "--ignore-not-found", deadline=300)
    helm = Helm(given.kubeconfig)
    helm.run("uninstall", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--ignore-not-found")
    say(f"namespace {NAMESPACE} and release {RELEASE} are gone; the CRDs are kept")


def _apply_sample(stack: Stack, say: Say) -> None:
    documents: list[dict[str, Any]] = list(yaml.safe_load_all((CHECKOUT / SAMPLE).read_text()))
    for document in documents:
        document["metadata"]["namespace"] = NAMESPACE
    say(f"  $ kubectl -n {NAMESPACE} apply -f {SAMPLE}")
    say("  " + stack.kubectl.apply(*documents).strip().replace("\n", "\n  "))


def _say_accuracy(build: dict[str, Any], say: Say) -> None:
    for target in build["status"]["targets"]:
        measured = target.get("accuracy") or {}
        say(
            f"  {target['engineRef']['name']}: mean KL {measured.get('meanKLDivergence')}, "
            f"top-1 agreement {measured.get('topOneAgreementPercent')} % with the original model"
        )


def _await_deployment(stack: Stack) -> None:
    def look() -> bool:
        found = stack.kubectl.get("inferencedeployment", NAME, NAMESPACE)
        if is_true(found, "Stalled"):
            stalled = condition(found, "Stalled") or {}
            raise DemoError(f"the deployment: {stalled['reason']}: {stalled['message']}")
        return is_true(found, "Ready")

    wait_for(f"InferenceDeployment {NAME} to be Ready", look, deadline=READY_SECONDS)


def _ask(stack: Stack) -> None:
    """Stream the answer to standard output; DemoError when it is not the right one."""
    endpoint = Endpoint(stack.cluster.kubeconfig, NAMESPACE, NAME)
    begin, first, answer = time.monotonic(), None, ""
    sys.stdout.write("  ")
    for piece in endpoint.ask(NAME, QUESTION):
        first = first or time.monotonic() - begin
        answer += piece
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write(f"\n  first token after {first or 0:.2f} s\n")
    if "Paris" not in answer:
        raise DemoError(f"the answer does not name Paris: {answer!r}")


def _say_next(stack: Stack, say: Say) -> None:
    kubeconfig = Path(stack.cluster.kubeconfig)
    say(
        f"\nIt stays up. To look around:\n"
        f"  export KUBECONFIG={kubeconfig}\n"
        f"  {stack.cluster.kubectl} -n {NAMESPACE} get enginebuilds,engines,inferencedeployments\n"
        f"  {stack.cluster.kubectl} -n {NAMESPACE} port-forward service/{NAME} 8000\n"
        f"`make demo-down` takes it down."
    )
