"""What the builder takes from its environment; read here and nowhere else."""

import os
from dataclasses import dataclass, field
from typing import Self

HUB = "https://huggingface.co"
REQUEST_VARIABLE = "NACELLE_BUILD_REQUEST"


@dataclass(frozen=True)
class HubAccess:
    """How to reach a hub: its address and, for gated models, a token.

    A private certificate authority comes by SSL_CERT_FILE, which the HTTP client reads itself.
    """

    endpoint: str = HUB
    token: str | None = field(default=None, repr=False)

    @classmethod
    def from_environment(cls) -> Self:
        """The access that HF_ENDPOINT and HF_TOKEN describe."""
        # A Secret that was made of a file or by echo ends with a line break.
        return cls(
            endpoint=os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or HUB,
            token=os.environ.get("HF_TOKEN", "").strip() or None,
        )


def request_text() -> str | None:
    """The build request that an operator put into the environment, or None."""
    return os.environ.get(REQUEST_VARIABLE)
