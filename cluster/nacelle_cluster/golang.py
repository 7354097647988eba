"""Building programs from Go modules.

Building all of them leaves 3.3 GB of compiled packages and 2.4 GB of modules behind (measured), for
0.5 GB of programs. On a machine whose own caches are warm we use them: a build is then seconds.
Elsewhere the caches lie under our folder, stay while a build may still be resumed, and go when all
is built.
"""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from nacelle_cluster.command import run
from nacelle_cluster.errors import ClusterError

MINIMUM_GO = (1, 26)
BUILD_SECONDS = 3600


@dataclass(frozen=True)
class GoCaches:
    """Where Go keeps modules and compiled packages, and whether the folders are ours to delete."""

    modules: Path
    builds: Path
    ours: bool

    def environment(self) -> dict[str, str]:
        """The environment of a `go` command."""
        return {
            **os.environ,
            "GOMODCACHE": str(self.modules),
            "GOCACHE": str(self.builds),
            # Modules writable, so that the folder can be deleted like any other. No DWARF: the
            # programs are linked without it, and writing it takes a twelfth of the compiler's time.
            "GOFLAGS": "-trimpath -buildvcs=false -modcacherw -gcflags=all=-dwarf=false",
            "GOTOOLCHAIN": "local",
        }

    def remove(self) -> None:
        """Deletes the caches if they are ours."""
        if self.ours:
            shutil.rmtree(self.modules, ignore_errors=True)
            shutil.rmtree(self.builds, ignore_errors=True)


def choose_caches(home: Path, witness: str) -> GoCaches:
    """The machine's caches if they hold the module `witness` (path@version), else own ones."""
    modules, builds = (Path(p) for p in run(["go", "env", "GOMODCACHE", "GOCACHE"]).split())
    if (modules / witness).is_dir():
        return GoCaches(modules, builds, ours=False)
    return GoCaches(home / "go" / "modules", home / "go" / "builds", ours=True)


def go_version() -> tuple[int, int]:
    """The installed Go's major and minor version."""
    told = run(["go", "env", "GOVERSION"]).strip()
    # As in go1.26.1, go1.27rc1, devel go1.28-0a1b2c3.
    found = re.search(r"go(\d+)\.(\d+)", told)
    if found is None:
        raise ClusterError(f"go env GOVERSION says {told!r}, which is no version")
    return int(found[1]), int(found[2])


def build_here(source: Path, output: Path, package: str, flags: str, caches: GoCaches) -> None:
    """Builds a main package of the module in `source`, whose go.sum pins everything."""
    command = ["go", "build", "-mod=readonly", "-ldflags", flags, "-o", str(output), package]
    environment = caches.environment() | {"CGO_ENABLED": "0"}
    run(command, seconds=BUILD_SECONDS, env=environment, cwd=source)


def folder_of(source: Path, module: str, caches: GoCaches) -> Path:
    """Where the sources of a module lie that the module in `source` needs."""
    command = ["go", "list", "-m", "-f", "{{.Dir}}", module]
    return Path(run(command, env=caches.environment(), cwd=source).strip())


def build_module(module: str, output: Path, flags: str, tags: str, caches: GoCaches) -> None:
    """Builds a main package of a published module, `module` being path@version.

    `tags` non-empty also turns cgo on: the only such program, runc, needs libseccomp.
    """
    environment = caches.environment() | {
        "GOBIN": str(output.parent),
        "CGO_ENABLED": "1" if tags else "0",
    }
    command = ["go", "install", "-tags", tags, "-ldflags", flags, module]
    run(command, seconds=BUILD_SECONDS, env=environment, cwd=output.parent)
    if not output.is_file():
        raise ClusterError(f"go install {module} did not give {output.name}")
