"""Writing container images without a container tool: an OCI layout of one layer over scratch."""

import gzip
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
EPOCH = "1970-01-01T00:00:00Z"
CHUNK = 1 << 20


@dataclass(frozen=True)
class ImageContent:
    """What an image shall hold: name in the image -> file or folder, and the container's config."""

    files: Mapping[str, Path]
    config: Mapping[str, Any]
    created_by: str = "nacelle_cluster"
    compress: bool = True


@dataclass(frozen=True)
class Layout:
    """An OCI image layout on disk."""

    folder: Path

    @property
    def manifest_digest(self) -> str:
        """Digest of the image's manifest."""
        index = json.loads((self.folder / "index.json").read_text())
        digest: str = index["manifests"][0]["digest"]
        return digest

    @property
    def manifest(self) -> dict[str, Any]:
        """The image's manifest."""
        manifest: dict[str, Any] = json.loads(self.blob(self.manifest_digest).read_text())
        return manifest

    def blob(self, digest: str) -> Path:
        """The file that holds a blob."""
        algorithm, value = digest.split(":")
        return self.folder / "blobs" / algorithm / value

    def write_archive(self, stream: IO[bytes], name: str) -> None:
        """The layout as a tar stream that containerd imports under `name`."""
        index = json.loads((self.folder / "index.json").read_text())
        index["manifests"][0]["annotations"] = {"io.containerd.image.name": name}
        with tarfile.open(fileobj=stream, mode="w|") as archive:
            for path in sorted(self.folder.rglob("*")):
                if path.is_file() and path.name != "index.json":
                    archive.add(path, str(path.relative_to(self.folder)))
            body = json.dumps(index).encode()
            entry = tarfile.TarInfo("index.json")
            entry.size = len(body)
            archive.addfile(entry, io.BytesIO(body))


class _Digesting:
    """A stream that hashes and counts what is written through it."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        return self._target.write(data)

    def flush(self) -> None:
        self._target.flush()

    @property
    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()


def write_layout(content: ImageContent, folder: Path) -> Layout:
    """Writes the image at `folder`, whole or not at all; equal content gives equal digests."""
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    blobs = unfinished / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layer, uncompressed = _write_layer(content, blobs)
    step = {"created": EPOCH, "created_by": content.created_by}
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": EPOCH,
        "config": dict(content.config),
        "rootfs": {"type": "layers", "diff_ids": [uncompressed]},
        # buildah refuses a base image whose history does not tell of its layers.
        "history": [step],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _write_blob(config, CONFIG, blobs),
        "layers": [layer],
    }
    described = _write_blob(manifest, MANIFEST, blobs)
    described["platform"] = {"architecture": "amd64", "os": "linux"}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [described]}
    (unfinished / "index.json").write_text(json.dumps(index))
    (unfinished / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    return Layout(folder)


def _write_blob(document: Mapping[str, Any], media_type: str, blobs: Path) -> dict[str, Any]:
    """Stores a JSON document; its descriptor."""
    body = json.dumps(document, sort_keys=True).encode()
    value = hashlib.sha256(body).hexdigest()
    (blobs / value).write_bytes(body)
    return {"mediaType": media_type, "digest": f"sha256:{value}", "size": len(body)}


def _write_layer(content: ImageContent, blobs: Path) -> tuple[dict[str, Any], str]:
    """Stores the layer; its descriptor and the digest of its uncompressed tar."""
    unfinished = blobs / "layer"
    with unfinished.open("wb") as file:
        stored = _Digesting(file)
        if content.compress:
            with gzip.GzipFile(fileobj=stored, mode="wb", compresslevel=1, mtime=0) as packed:
                plain = _Digesting(packed)  # type: ignore[arg-type]
                _write_tar(content, plain)
        else:
            plain = stored
            _write_tar(content, plain)
    unfinished.rename(blobs / stored.digest.removeprefix("sha256:"))
    media_type = LAYER + ("+gzip" if content.compress else "")
    return {"mediaType": media_type, "digest": stored.digest, "size": stored.size}, plain.digest


def _write_tar(content: ImageContent, stream: _Digesting) -> None:
    """The image's files in a fixed order, owned by root, dated 1970."""
    with tarfile.open(fileobj=stream, mode="w|", bufsize=CHUNK) as archive:  # type: ignore[call-overload]
        parents = {str(p) for name in content.files for p in list(Path(name).parents)[:-1]}
        for parent in sorted(parents - set(content.files)):
            archive.addfile(_folder_entry(parent))
        for name, source in sorted(content.files.items()):
            archive.add(source, name, filter=_normal)


def _folder_entry(name: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.DIRTYPE
    entry.mode = 0o755
    return entry


def _normal(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """The entry without what differs from machine to machine."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    return entry
