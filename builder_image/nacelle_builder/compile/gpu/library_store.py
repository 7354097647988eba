"""Compiled libraries of attention, kept by what they are made of: each is compiled once a store."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from nacelle_builder.compile.gpu.flashinfer_library import Kit, compile_libraries
from nacelle_builder.compile.gpu.flashinfer_sources import own_sources
from nacelle_builder.durable import link_or_copy
from nacelle_engine.arch import Architecture
from nacelle_engine.bundle import file_sha256
from nacelle_engine.canonical import digest
from nacelle_engine.program.attention_library import AttentionLibrary


class LibraryStore:
    """A folder <root>/<digest>/<library's file>; other builds may fill it at the same time."""

    def __init__(self, root: Path, architecture: Architecture, kit: Kit) -> None:
        self._root, self._architecture, self._kit = root, architecture, kit
        self._sources = {path.name: file_sha256(path) for path in own_sources()}

    def put(self, libraries: Sequence[AttentionLibrary], rank: Path) -> None:
        """Write the libraries' files into a rank's folder; CompileFailed has nvcc's last lines."""
        for library in libraries:
            kept = self.place(library)
            if not kept.is_file():
                self._compile(library, kept)
            link_or_copy(kept, rank / library.file)

    def place(self, library: AttentionLibrary) -> Path:
        """Where a library lies once it is compiled: by its case, compiler, headers and sources."""
        made_of = {
            "library": library.model_dump(mode="json"),
            "architecture": self._architecture.value,
            "versions": dict(self._kit.versions),
            "sources": self._sources,
        }
        return self._root / digest(made_of) / library.file

    def _compile(self, library: AttentionLibrary, kept: Path) -> None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        # Not named after this process: builds in pods all have the same id.
        with tempfile.TemporaryDirectory(prefix=".", dir=kept.parent) as work:
            compile_libraries((library,), self._architecture, Path(work), _silent, self._kit)
            # Whole or not there: a reader never sees a library that is still being written.
            (Path(work) / library.file).replace(kept)


def _silent(_percent: int, _message: str) -> None:
    """It runs beside the stage's own work, which tells how far it is."""
