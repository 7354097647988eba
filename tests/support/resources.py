"""Custom resources as the end-to-end tests apply them."""

from typing import Any

LIMITS = {"maxBatchSize": 4, "maxInputLen": 128, "maxSeqLen": 256, "maxNumTokens": 64}


def engine_build(name: str, model: str, /, **spec: Any) -> dict[str, Any]:
    """A build of a folder in the claim `models` for x86-64-v3, unquantised; `spec` goes on top."""
    return {
        "apiVersion": "nacelle.dev/v1alpha1",
        "kind": "EngineBuild",
        "metadata": {"name": name},
        "spec": {
            "modelName": model,
            "model": {"persistentVolumeClaim": {"claimName": "models", "path": model}},
            "quantization": {"algorithm": "NONE", "computeType": "float32"},
            "limits": LIMITS,
            # Random weights agree with nobody: what is judged here is not the model.
            "accuracy": {"samples": 2, "onFailure": "Publish"},
            "targets": [{"name": "cpu", "architecture": "x86-64-v3"}],
            "store": {"persistentVolumeClaim": {"claimName": "engines"}},
            **spec,
        },
    }


def deployment(name: str, build: str, /, **spec: Any) -> dict[str, Any]:
    """One replica of a build's target `cpu`; `spec` goes on top."""
    return {
        "apiVersion": "nacelle.dev/v1alpha1",
        "kind": "InferenceDeployment",
        "metadata": {"name": name},
        "spec": {
            "engine": {"buildRef": {"name": build, "target": "cpu"}},
            "replicas": 1,
            **spec,
        },
    }
