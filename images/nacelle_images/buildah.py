"""Images by buildah, where no docker engine runs; everything it keeps lies in one folder of ours.

buildah runs in a mount namespace of its own: whatever becomes of it, no mount stays behind.
"""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nacelle_cluster import debian
from nacelle_cluster.command import run
from nacelle_cluster.errors import ClusterError
from nacelle_images.base import APART, SUITE, LocalBase, machine_mirror
from nacelle_images.pip_settings import pip_configuration
from nacelle_images.tool import BuildOrder

BUILD_SECONDS = 3600
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# Its cache of which registry has which layer lies below /var/lib/containers, whatever --root says.
ENTER = """
mkdir -p /var/lib/containers && mount --bind "$1" /var/lib/containers && shift && exec "$@"
"""


@dataclass(frozen=True)
class DiskNeeds:
    """Bytes of free disk that images take; the defaults are those of the torch layer."""

    # Below this the layers go after each push, and come back (some minutes) when an image changes.
    to_keep_layers: int = 15 * 10**9
    # While a layer is committed, buildah holds it three times.
    to_build: int = 13 * 10**9


@dataclass(frozen=True)
class Buildah:
    """buildah with its storage under `folder`; `base_image` None makes a local base."""

    folder: Path
    base_image: str | None
    plain_http: bool
    disk: DiskNeeds = DiskNeeds()

    def base_identity(self) -> str:
        """The base's name, or the digest of the local base, which is made on first use."""
        return self.base_image or self._local_base().digest()

    def server_image(self) -> str | None:
        """The wheel's on a local base: a machine that makes one reaches no image registry."""
        return "wheel" if self.base_image is None else None

    def build(self, order: BuildOrder) -> None:
        """Build an image, taking unchanged layers from the last time."""
        self._clear()
        self._check_disk()
        words = ["bud", "--quiet", "--layers", "--isolation", "chroot", "--network", "host"]
        words += ["--build-arg", f"BASE_IMAGE={self.base_image or self._imported_base()}"]
        words += order.argument_words
        if self.base_image is None:
            words += self._machine_configuration()
        words += ["-f", str(order.dockerfile), "-t", order.reference, str(order.context)]
        self._buildah(words)

    def run(self, reference: str, command: Sequence[str]) -> str:
        """Run a command in an image under the image's own user; its output."""
        container = self._buildah(["from", "--pull-never", reference]).strip()
        try:
            return self._buildah(["run", "--isolation", "chroot", container, "--", *command])
        finally:
            self._buildah(["rm", container])

    def push(self, reference: str) -> None:
        """Push an image to the registry that its name begins with, no archive kept."""
        verify = ["--tls-verify=false"] if self.plain_http else []
        compression = ["--compression-format", "zstd", "--compression-level", "1"]
        self._buildah(["push", "--quiet", *verify, *compression, reference])

    def remove(self, reference: str) -> None:
        """Forget an image that the registry now has."""
        self._buildah(["rmi", reference])

    def finish(self) -> None:
        """Where disk is short, delete the layers: the registry has them."""
        if shutil.disk_usage(self.folder).free < self.disk.to_keep_layers:
            self._buildah(["rmi", "--all", "--force"])

    def _clear(self) -> None:
        """Delete what builds that were killed left: layers half written, containers worked in.

        Whoever builds holds the lock of the folder: nobody else's are among them.
        """
        shutil.rmtree(self.folder / "scratch", ignore_errors=True)
        self._buildah(["rm", "--all"])

    def _check_disk(self) -> None:
        nothing_kept = not self._buildah(["images", "--quiet"]).strip()
        free = shutil.disk_usage(self.folder).free
        if nothing_kept and free < self.disk.to_build:
            wanted, found = self.disk.to_build // 10**9, free / 10**9
            raise ClusterError(
                f"building the images needs {wanted} GB of free disk at {self.folder} "
                f"({found:.1f} GB are free)"
            )

    def _local_base(self) -> LocalBase:
        base = LocalBase(self.folder / "base")
        base.ensure()
        return base

    def _imported_base(self) -> str:
        base = self._local_base()
        name = f"localhost/nacelle-base:{base.digest()[:16]}"
        if not self._buildah(["images", "--quiet", "--filter", f"reference={name}"]).strip():
            self._buildah(["bud", "--quiet", "-t", name, str(base.folder)])
        return name

    def _machine_configuration(self) -> list[str]:
        """How this machine reaches its registries, mounted while building: no layer holds it."""
        sources = self.folder / "sources.list"
        keyring = f"[signed-by={debian.KEYRING}]"
        sources.write_text(f"deb {keyring} {machine_mirror()} {SUITE} main\n")
        pip = self.folder / "pip.conf"
        pip.write_text(pip_configuration(run([sys.executable, "-m", "pip", "config", "list"])))
        mounts = {sources: "/etc/apt/sources.list", pip: "/etc/pip.conf"}
        mounts |= {CERTIFICATES: str(CERTIFICATES)} if CERTIFICATES.is_file() else {}
        return [word for file, place in mounts.items() for word in ("-v", f"{file}:{place}:ro")]

    def _buildah(self, words: Sequence[str]) -> str:
        if not shutil.which("buildah"):
            debian.install(["buildah"])
        for name in ("store", "run", "state", "scratch"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        enter = [*APART, "sh", "-c", ENTER, "sh"]
        storage = ["--root", f"{self.folder}/store", "--runroot", f"{self.folder}/run"]
        command = [*enter, f"{self.folder}/state", "env", f"TMPDIR={self.folder}/scratch"]
        return run([*command, "buildah", *storage, *words], seconds=BUILD_SECONDS)
