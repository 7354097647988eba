"""What the operator's environment says: the only place that reads it."""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

from nacelle_engine.abi import ABI
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.recipe import Toolchain
from nacelle_operator.api.duration import parse_duration
from nacelle_operator.engines.collection import DEFAULT, Collection
from nacelle_operator.objects.gpu_labels import FEATURE_DISCOVERY, GpuLabels

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True)
class Settings:
    """One operator process: the images it hands out, where it looks, how it is told apart."""

    builder_image: str
    runtime_images: Mapping[str, str] = field(default_factory=dict)
    triton_images: Mapping[str, str] = field(default_factory=dict)
    activator_image: str = ""
    gpu_labels: GpuLabels = FEATURE_DISCOVERY
    namespaces: tuple[str, ...] = ()
    log_level: str = "INFO"
    own_namespace: str = "default"
    identity: str = "operator"
    port: int = 8080
    collection: Collection = DEFAULT

    @property
    def toolchain(self) -> Toolchain:
        """The builder that builds planned from now on are pinned to."""
        return Toolchain(builder_image=self.builder_image, abi=ABI)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """The settings of a process; InvalidRequest names the variable that is wrong."""
        env = os.environ if environment is None else environment
        level = env.get("NACELLE_LOG_LEVEL", "INFO").upper()
        if level not in _LEVELS:
            raise InvalidRequest(f"NACELLE_LOG_LEVEL {level!r} is not one of {', '.join(_LEVELS)}")
        if not env.get("NACELLE_BUILDER_IMAGE"):
            raise InvalidRequest("NACELLE_BUILDER_IMAGE is not set: the image that builds engines")
        return cls(
            builder_image=env["NACELLE_BUILDER_IMAGE"],
            runtime_images=_images("NACELLE_RUNTIME_IMAGES", env),
            triton_images=_images("NACELLE_TRITON_IMAGES", env),
            activator_image=env.get("NACELLE_ACTIVATOR_IMAGE", ""),
            gpu_labels=_gpu_labels(env.get("NACELLE_GPU_LABELS") or "{}"),
            namespaces=tuple(
                name.strip()
                for name in env.get("NACELLE_NAMESPACES", "").split(",")
                if name.strip()
            ),
            log_level=level,
            own_namespace=env.get("POD_NAMESPACE", "default"),
            identity=env.get("POD_NAME", f"{socket.gethostname()}-{os.getpid()}"),
            port=_port(env.get("NACELLE_PORT", "8080")),
            collection=Collection(_grace(env), _is_dry_run(env)),
        )


def _images(name: str, env: Mapping[str, str]) -> dict[str, str]:
    try:
        images = json.loads(env.get(name, "{}"))
    except ValueError as error:
        raise InvalidRequest(f"{name} is not JSON: {error}") from error
    if not isinstance(images, dict) or not all(isinstance(v, str) for v in images.values()):
        raise InvalidRequest(f"{name} must be a JSON object of ABI: image")
    return images


def _gpu_labels(text: str) -> GpuLabels:
    try:
        return GpuLabels.parse(json.loads(text))
    except ValueError as error:
        raise InvalidRequest(f"NACELLE_GPU_LABELS is not JSON: {error}") from error
    except InvalidRequest as error:
        raise InvalidRequest(f"NACELLE_GPU_LABELS: {error}") from error


def _grace(env: Mapping[str, str]) -> timedelta:
    text = env.get("NACELLE_ENGINE_GRACE_PERIOD")
    try:
        return DEFAULT.grace if text is None else parse_duration(text)
    except ValueError as error:
        raise InvalidRequest(f"NACELLE_ENGINE_GRACE_PERIOD: {error}") from error


def _is_dry_run(env: Mapping[str, str]) -> bool:
    text = env.get("NACELLE_ENGINE_DRY_RUN", "false")
    if text not in ("true", "false"):
        raise InvalidRequest(f"NACELLE_ENGINE_DRY_RUN {text!r} is not true or false")
    return text == "true"


def _port(text: str) -> int:
    if not text.isdigit() or not 0 <= int(text) < 65536:
        raise InvalidRequest(f"NACELLE_PORT {text!r} is not a port")
    return int(text)
