"""A bundle on disk: sealed by one atomic rename, opened only when its digests match."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from nacelle_engine.abi import ABI, abi_of
from nacelle_engine.arch import missing_flags
from nacelle_engine.errors import (
    AbiMismatch,
    CorruptBundle,
    StoreUnavailable,
    TargetMismatch,
)
from nacelle_engine.machine import Gpu, Machine
from nacelle_engine.manifest import FileEntry, Manifest

MANIFEST = "manifest.json"
CONFIG = "config.json"
# Weights of 9 GB take one processor ten seconds: pieces of a file are hashed side by side.
PIECE_BYTES = 64 * 2**20
_READ_BYTES = 2**20


@dataclass(frozen=True)
class Bundle:
    """A sealed bundle whose manifest has been read."""

    root: Path
    manifest: Manifest
    digest: str

    @property
    def bytes(self) -> int:
        """The size of all files together, the manifest left out."""
        return sum(entry.size for entry in self.manifest.files)

    def rank(self, number: int = 0) -> Path:
        """The folder of one rank's programs, weights and kernels."""
        return self.root / f"rank{number}"

    @property
    def tokenizer(self) -> Path:
        """The folder with the tokenizer, generation config and chat template."""
        return self.root / "tokenizer"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digests(paths: Sequence[Path]) -> list[str]:
    """Each file's digest, as a manifest states it.

    SHA-256 of the bytes; of a file of more than PIECE_BYTES, SHA-256 of its pieces' SHA-256 (32
    bytes each), one after another.
    """
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        try:
            files = [
                [
                    pool.submit(_piece, path, at)
                    for at in range(0, path.stat().st_size or 1, PIECE_BYTES)
                ]
                for path in paths
            ]
            return [_joined([piece.result() for piece in pieces]).hex() for pieces in files]
        except BaseException:
            # A file that cannot be read, or the process's end: nobody waits for the others.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _piece(path: Path, start: int) -> bytes:
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_READ_BYTES))
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            left = PIECE_BYTES
            while left and (read := file.readinto(buffer[: min(left, _READ_BYTES)])):
                digest.update(buffer[:read])
                left -= read
    except OSError as error:  # of a read, which does not tell of which file
        raise OSError(error.errno, error.strerror, str(path)) from error
    return digest.digest()


def _joined(pieces: Sequence[bytes]) -> bytes:
    return pieces[0] if len(pieces) == 1 else hashlib.sha256(b"".join(pieces)).digest()


def list_files(root: Path) -> tuple[FileEntry, ...]:
    """Every file below `root` but the manifest, with size and digest, sorted by path."""
    paths = sorted(p for p in root.rglob("*") if p.is_file() and p != root / MANIFEST)
    return tuple(
        FileEntry(path=path.relative_to(root).as_posix(), size=path.stat().st_size, sha256=digest)
        for path, digest in zip(paths, file_digests(paths), strict=True)
    )


def write_manifest(root: Path, manifest: Manifest) -> str:
    """Write the manifest durably, as the last file of a bundle; gives the bundle's digest."""
    data = manifest.model_dump_json(by_alias=True, indent=1).encode()
    with (root / MANIFEST).open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(data).hexdigest()


def publish(staged: Path, destination: Path) -> bool:
    """Move a sealed folder to its place in one rename; False when another attempt was first."""
    read_bundle(staged)
    destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        staged.rename(destination)
    except OSError:
        if not destination.is_dir():
            raise
        shutil.rmtree(staged)
        return False
    _sync_folder(destination.parent)
    return True


def read_bundle(root: Path) -> Bundle:
    """The bundle in a folder, by its manifest alone; CorruptBundle when there is none to read."""
    try:
        data = (root / MANIFEST).read_bytes()
    except OSError as error:
        raise CorruptBundle(f"{root / MANIFEST} cannot be read: {error.strerror}") from error
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CorruptBundle(f"{root / MANIFEST}: field {where}: {first['msg']}") from error
    return Bundle(root, manifest, hashlib.sha256(data).hexdigest())


def verify_files(bundle: Bundle) -> None:
    """Check every file's size and digest, and that none is missing or left over.

    CorruptBundle names what is wrong; StoreUnavailable a file that cannot be read.
    """
    expected = {entry.path: entry for entry in bundle.manifest.files}
    present = {
        p.relative_to(bundle.root).as_posix(): p
        for p in bundle.root.rglob("*")
        if not p.is_dir() and p != bundle.root / MANIFEST
    }
    for path in sorted(expected.keys() - present.keys()):
        raise CorruptBundle(f"{bundle.root}: {path} is missing")
    for path in sorted(present.keys() - expected.keys()):
        raise CorruptBundle(f"{bundle.root}: {path} is not in the manifest")
    for path, entry in expected.items():
        file = present[path]
        if file.is_symlink() or not file.is_file():
            raise CorruptBundle(f"{bundle.root}: {path} is not a plain file")
        if file.stat().st_size != entry.size:
            raise CorruptBundle(
                f"{bundle.root}: {path} has {file.stat().st_size} bytes, "
                f"the manifest says {entry.size}"
            )
    try:
        found = file_digests([present[path] for path in expected])
    except OSError as error:
        raise StoreUnavailable(f"{error.filename} cannot be read: {error.strerror}") from error
    for (path, entry), digest in zip(expected.items(), found, strict=True):
        if digest != entry.sha256:
            raise CorruptBundle(f"{bundle.root}: {path} does not match its digest")


def check_target(
    bundle: Bundle, machine: Machine, abis: tuple[str, ...] = (ABI, abi_of("tensorrt"))
) -> None:
    """Refuse a bundle of another ABI, or for another CPU or GPU than this machine's.

    abis: what this runtime serves, its own first; whether TensorRT is installed shows when its
    plans are opened.
    """
    manifest = bundle.manifest
    if manifest.abi not in abis:
        raise AbiMismatch(
            f"{bundle.root} was compiled for runtime {manifest.abi}, this is {abis[0]}: "
            "rebuild it, or serve it with the runtime image of its ABI"
        )
    if manifest.target.architecture.is_cpu:
        _check_cpu(bundle, machine.cpu_flags)
    else:
        _check_gpu(bundle, machine.gpu)


def _check_cpu(bundle: Bundle, flags: frozenset[str]) -> None:
    architecture = bundle.manifest.target.architecture
    missing = missing_flags(architecture, flags)
    if missing:
        raise TargetMismatch(
            f"{bundle.root} was compiled for {architecture}; this CPU lacks "
            f"{', '.join(sorted(missing))}"
        )


def _check_gpu(bundle: Bundle, gpu: Gpu | None) -> None:
    target = bundle.manifest.target
    wanted: str = target.architecture
    if target.gpu_product != "any":
        # Its kernels were chosen by timing on that product.
        wanted = f"{target.gpu_product} ({target.architecture}, {target.sm_count} SMs)"
    if gpu is None:
        raise TargetMismatch(f"{bundle.root} was compiled for {wanted}; this machine has no GPU")
    other_product = target.gpu_product != "any" and (
        (target.gpu_product, target.sm_count) != (gpu.product, gpu.sm_count)
    )
    if gpu.compute_capability != target.architecture.compute_capability or other_product:
        raise TargetMismatch(
            f"{bundle.root} was compiled for {wanted}; this machine's GPU is {gpu}"
        )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    with contextlib.suppress(OSError):  # some network file systems cannot sync a folder
        os.fsync(descriptor)
    os.close(descriptor)
