"""What a check finds: why a deployment is not as it is wanted."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A reason and a message; stalled when it stays so until somebody does something."""

    reason: str
    message: str
    stalled: bool = False
