"""What the user's environment asks for: the only place of this package that reads it."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nacelle_cluster.errors import ClusterError

NAME = re.compile(r"[a-z][a-z0-9-]{0,29}")


@dataclass(frozen=True)
class Settings:
    """The cache folder, the embedded cluster's name, and an existing cluster if one is given."""

    cache: Path
    name: str
    kubeconfig: str | None = None
    registry: str | None = None
    registry_plain_http: bool = False

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ClusterError(
                f"NACELLE_CLUSTER: {self.name!r} is no cluster name: "
                "use up to 30 lower-case letters, digits and '-', a letter first"
            )

    @property
    def home(self) -> Path:
        """The folder of everything this tool keeps, shared by all its clusters."""
        return self.cache / "cluster"


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from NACELLE_CACHE, NACELLE_CLUSTER, KUBECONFIG, REGISTRY, REGISTRY_PLAIN_HTTP."""
    env = os.environ if environment is None else environment
    return Settings(
        cache=Path(env.get("NACELLE_CACHE") or "~/.cache/nacelle").expanduser().absolute(),
        name=env.get("NACELLE_CLUSTER") or "nacelle",
        kubeconfig=env.get("KUBECONFIG") or None,
        registry=env.get("REGISTRY") or None,
        registry_plain_http=env.get("REGISTRY_PLAIN_HTTP", "") in {"1", "true"},
    )
