"""kwok beside a cluster: it plays the kubelet of fake nodes by the stages that it is told."""

import contextlib
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

# Its own log, in the folder that it is given.
LOG: Final = "kwok.log"
_ENDING_SECONDS: Final = 30
Manifest = dict[str, Any]


@contextlib.contextmanager
def playing(
    program: str, kubeconfig: Path, folder: Path, stages: Iterable[Manifest], flags: Sequence[str]
) -> Iterator[None]:
    """Play these stages; `flags` say of which nodes, by an annotation, and with what addresses."""
    told = folder / "stages.yaml"
    told.write_text(yaml.safe_dump_all(list(stages)))
    command = [program, f"--kubeconfig={kubeconfig}", f"--config={told}"]
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            [*command, "--manage-all-nodes=false", *flags], stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=_ENDING_SECONDS)


def stage(name: str, kind: str, expressions: list[Manifest], following: Manifest) -> Manifest:
    """What objects of a kind become for which the expressions hold."""
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": expressions},
            "next": following,
        },
    }
