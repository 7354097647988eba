"""The operator's memory of the cluster: trimmed objects, fed by watches, lists and own writes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from nacelle_operator.kinds import POD, Kind

Manifest = dict[str, Any]
# How many deleted objects are remembered, so that a late answer cannot bring one back.
_REMEMBERED = 4096


class ObjectCache:
    """Objects by kind, namespace and name; an older version never replaces a newer one."""

    def __init__(self) -> None:
        self._objects: dict[Kind, dict[str, dict[str, Manifest]]] = defaultdict(
            lambda: defaultdict(dict)
        )
        self._gone: dict[str, None] = {}

    def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """One object, or None."""
        return self._objects[kind][namespace].get(name)

    def select(
        self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> tuple[Manifest, ...]:
        """Objects of a namespace (None: of all) that carry every one of the labels, by name."""
        spaces = self._objects[kind]
        inside = [spaces[namespace]] if namespace is not None else list(spaces.values())
        wanted = (labels or {}).items()
        return tuple(
            space[name]
            for space in inside
            for name in sorted(space)
            if wanted <= space[name]["metadata"].get("labels", {}).items()
        )

    def put(self, kind: Kind, manifest: Mapping[str, Any]) -> bool:
        """Take in an object; False when what is known of it is as new or newer."""
        meta = manifest["metadata"]
        if meta["uid"] in self._gone:
            return False
        space = self._objects[kind][meta.get("namespace", "")]
        known = space.get(meta["name"])
        if known is not None and _version(known) >= _version(manifest):
            return False
        space[meta["name"]] = trim(kind, manifest)
        return True

    def remove(self, kind: Kind, manifest: Mapping[str, Any]) -> None:
        """Forget an object; one of the same name made since then stays."""
        meta = manifest["metadata"]
        self._gone[meta["uid"]] = None
        while len(self._gone) > _REMEMBERED:
            del self._gone[next(iter(self._gone))]
        space = self._objects[kind][meta.get("namespace", "")]
        known = space.get(meta["name"])
        if known is not None and known["metadata"]["uid"] == meta["uid"]:
            del space[meta["name"]]

    def replace(
        self, kind: Kind, listed: Iterable[Mapping[str, Any]], version: int, namespace: str | None
    ) -> tuple[Manifest, ...]:
        """Take in a live list made at `version`; gives the objects that it shows to be gone.

        A watch that has died or expired never tells of what was deleted meanwhile: a list does.
        """
        present = set()
        for manifest in listed:
            present.add(manifest["metadata"]["uid"])
            self.put(kind, manifest)
        gone = tuple(
            known
            for known in self.select(kind, namespace)
            if known["metadata"]["uid"] not in present and _version(known) <= version
        )
        for manifest in gone:
            self.remove(kind, manifest)
        return gone


def trim(kind: Kind, manifest: Mapping[str, Any]) -> Manifest:
    """The object without what no plan reads: field managers; of a pod's spec, all but its node."""
    meta = {name: value for name, value in manifest["metadata"].items() if name != "managedFields"}
    kept: Manifest = {"apiVersion": kind.api_version, "kind": kind.name, **manifest}
    kept["metadata"] = meta
    if kind == POD:
        kept["spec"] = {"nodeName": manifest.get("spec", {}).get("nodeName")}
    return kept


def _version(manifest: Mapping[str, Any]) -> int:
    return int(manifest["metadata"]["resourceVersion"])
