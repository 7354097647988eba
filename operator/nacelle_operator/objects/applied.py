"""The mark of an applied object: what was sent, so that the same need never be sent again.

Whether an object holds every field that is wanted can be seen. That it holds none that an earlier
apply set and this one no longer says cannot: the mark tells, after a restart too.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from nacelle_operator.objects.names import APPLIED


def marked(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The object with the annotation that stands for all the rest of it: 32 hex digits."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    mark = hashlib.sha256(text.encode()).hexdigest()[:32]
    meta = manifest["metadata"]
    annotations = {**meta.get("annotations", {}), APPLIED: mark}
    return {**manifest, "metadata": {**meta, "annotations": annotations}}
