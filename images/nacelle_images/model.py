"""A model's image: a fetched checkpoint under /model over scratch, however it was fetched."""

import hashlib
import os
import shutil
from pathlib import Path

from nacelle_cluster.errors import ClusterError
from nacelle_images.context import Context

SUMS = "SHA256SUMS.json"
DOCKERFILE = "FROM scratch\nCOPY model /model\n"
# Part of the tag: an image that was laid out in another way is another image.
LAYOUT = "files of mode 0644"


def model_tag(checkpoint: Path) -> str:
    """16 hex digits over the checkpoint's list of digests and the image's layout.

    ClusterError when there is no list.
    """
    sums = checkpoint / SUMS
    if not sums.is_file():
        raise ClusterError(f"{sums} is missing: fetch the model with `nacelle model fetch`")
    return hashlib.sha256(LAYOUT.encode() + sums.read_bytes()).hexdigest()[:16]


def write_model_context(checkpoint: Path, folder: Path) -> Context:
    """Lay out the folder that the model's image is built from."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "model").mkdir(parents=True)
    for file in checkpoint.iterdir():
        _link(file, folder / "model" / file.name)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    return Context(folder, folder / "Dockerfile")


def _link(source: Path, target: Path) -> None:
    """A second name for a large file rather than a copy, where the file system allows.

    A pod reads it as a user of its own: a file that only its owner may read (so safetensors are
    written) is copied, since a link would share its mode.
    """
    if source.stat().st_mode & 0o004:
        try:
            os.link(source, target)
            return
        except OSError:
            pass  # another file system, or one without links
    shutil.copyfile(source, target)
    target.chmod(0o644)
