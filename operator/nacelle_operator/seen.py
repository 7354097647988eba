"""What was seen of a kind that a cluster may not know."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Seen(NamedTuple):
    """Whether the cluster knows the kind, and the object of that name, whoever made it."""

    is_known: bool
    found: Mapping[str, Any] | None = None
