"""The operator's memory of the cluster: trimmed objects, fed by watches, lists and own writes."""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from nacelle_operator.index import LABELS, Indexers
from nacelle_operator.kinds import JOB, POD, Kind

Manifest = dict[str, Any]
Keep = Callable[[Kind, Mapping[str, Any]], Manifest]
# How many deleted objects are remembered, so that a late answer cannot bring one back.
_REMEMBERED = 4096


class ObjectCache:
    """Objects by kind, namespace and name; an older version never replaces a newer one.

    They are found by the labels of `index.LABELS` and by the values that `indexers` give.
    """

    def __init__(self, indexers: Indexers | None = None) -> None:
        self._objects: dict[Kind, dict[str, dict[str, Manifest]]] = defaultdict(
            lambda: defaultdict(dict)
        )
        self._indexers = indexers or {}
        # (kind, namespace, index, value) -> names.
        self._names: dict[tuple[Kind, str, str, str], set[str]] = {}
        # What each object is found by, so that it can be taken out again.
        self._places: dict[tuple[Kind, str, str], tuple[tuple[str, str], ...]] = {}
        self._gone: dict[str, None] = {}

    def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """One object, or None."""
        return self._objects[kind][namespace].get(name)

    def select(
        self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> tuple[Manifest, ...]:
        """Objects of a namespace (None: of all) that carry every one of the labels, by name."""
        spaces = self._objects[kind]
        wanted = labels or {}
        inside = [namespace] if namespace is not None else list(spaces)
        return tuple(
            spaces[space][name]
            for space in inside
            for name in sorted(self._candidates(kind, space, wanted))
            if wanted.items() <= spaces[space][name]["metadata"].get("labels", {}).items()
        )

    def referring(self, kind: Kind, namespace: str, index: str, value: str) -> tuple[Manifest, ...]:
        """Objects for which the index gives this value, by name."""
        assert (kind, index) in self._indexers, f"{kind.plural} have no index {index}"
        space = self._objects[kind][namespace]
        return tuple(space[n] for n in sorted(self._names.get((kind, namespace, index, value), ())))

    def put(self, kind: Kind, manifest: Mapping[str, Any]) -> bool:
        """Take in an object; False when what is known of it is as new or newer."""
        return self._put(kind, manifest, trim)

    def _put(self, kind: Kind, manifest: Mapping[str, Any], keep: Keep) -> bool:
        meta = manifest["metadata"]
        if meta["uid"] in self._gone:
            return False
        space = self._objects[kind][meta.get("namespace", "")]
        known = space.get(meta["name"])
        if known is not None and _version(known) >= _version(manifest):
            return False
        kept = keep(kind, manifest)
        space[meta["name"]] = kept
        self._index(kind, kept)
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
            self._take_out(kind, meta.get("namespace", ""), meta["name"])

    def replace(
        self, kind: Kind, listed: Iterable[Mapping[str, Any]], version: int, namespace: str | None
    ) -> tuple[Manifest, ...]:
        """Take in a live list, trimmed, made at `version`; gives what it shows to be gone.

        A watch that has died or expired never tells of what was deleted meanwhile: a list does.
        """
        present = set()
        for manifest in listed:
            present.add(manifest["metadata"]["uid"])
            self._put(kind, manifest, lambda _, trimmed: dict(trimmed))
        gone = tuple(
            known
            for known in self.select(kind, namespace)
            if known["metadata"]["uid"] not in present and _version(known) <= version
        )
        for manifest in gone:
            self.remove(kind, manifest)
        return gone

    def _candidates(self, kind: Kind, namespace: str, labels: Mapping[str, str]) -> Iterable[str]:
        """Names among which all objects with these labels are: the fewest that an index gives."""
        found = [
            self._names.get((kind, namespace, label, value), set())
            for label, value in labels.items()
            if label in LABELS
        ]
        if not found:
            return self._objects[kind][namespace]
        return min(found, key=lambda names: len(names))

    def _index(self, kind: Kind, manifest: Manifest) -> None:
        namespace, name = manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"]
        places = tuple(self._found_by(kind, manifest))
        if self._places.get((kind, namespace, name), ()) == places:
            return
        self._take_out(kind, namespace, name)
        self._places[kind, namespace, name] = places
        for index, value in places:
            self._names.setdefault((kind, namespace, index, value), set()).add(name)

    def _found_by(self, kind: Kind, manifest: Manifest) -> Iterator[tuple[str, str]]:
        labels = manifest["metadata"].get("labels", {})
        yield from ((label, labels[label]) for label in LABELS if label in labels)
        for (of, index), values in self._indexers.items():
            if of == kind:
                yield from ((index, value) for value in sorted(values(manifest)))

    def _take_out(self, kind: Kind, namespace: str, name: str) -> None:
        for index, value in self._places.pop((kind, namespace, name), ()):
            names = self._names[kind, namespace, index, value]
            names.discard(name)
            if not names:
                del self._names[kind, namespace, index, value]


def trim(kind: Kind, manifest: Mapping[str, Any]) -> Manifest:
    """The object without what no plan reads, its texts shared with all other objects'.

    Left out are field managers; of a pod's spec, all but its node; of a Job's template, all but its
    volumes and claims, and what its containers are given.
    """
    meta = {name: value for name, value in manifest["metadata"].items() if name != "managedFields"}
    kept: Manifest = {"apiVersion": kind.api_version, "kind": kind.name, **manifest}
    kept["metadata"] = meta
    spec = manifest.get("spec", {})
    if kind == POD:
        kept["spec"] = {"nodeName": spec.get("nodeName")}
    elif kind == JOB and "template" in spec:
        kept["spec"] = {**spec, "template": {"spec": _of_job_pod(spec["template"].get("spec", {}))}}
    shared: Manifest = _shared(kept)
    return shared


def _of_job_pod(spec: Mapping[str, Any]) -> Manifest:
    kept = {name: spec[name] for name in ("volumes", "resourceClaims") if name in spec}
    containers = [
        {name: one[name] for name in ("name", "resources") if name in one}
        for one in spec.get("containers", ())
    ]
    return {**kept, "containers": containers}


def _shared(value: Any) -> Any:
    """The value with one copy of each text in this process: half the memory of what is cached."""
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, Mapping):
        return {sys.intern(name): _shared(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shared(item) for item in value]
    return value


def _version(manifest: Mapping[str, Any]) -> int:
    return int(manifest["metadata"]["resourceVersion"])
