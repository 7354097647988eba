"""The node's image store: what it holds, and importing our own layouts into it."""

import tempfile

from nacelle_cluster.command import run, succeeds
from nacelle_cluster.images import Layout
from nacelle_cluster.parts import PARTS, RUNTIME, PartStore
from nacelle_cluster.processes import enter_node


class Containerd:
    """containerd of the node whose first process is `pid`."""

    def __init__(self, parts: PartStore, pid: int) -> None:
        self._parts = parts
        self._pid = pid

    def command(self, *words: str) -> list[str]:
        """The command line that runs ctr on Kubernetes' images and containers."""
        ctr = str(self._parts.program(RUNTIME, "ctr"))
        return enter_node(self._pid, self._parts.search_path(PARTS), [ctr, "-n", "k8s.io", *words])

    def answers(self) -> bool:
        """Whether containerd can be asked."""
        return succeeds(self.command("version"), seconds=5)

    def images(self) -> dict[str, str]:
        """Name -> digest of every image."""
        lines = run(self.command("images", "list")).splitlines()[1:]
        return {line.split()[0]: line.split()[2] for line in lines}

    def import_image(self, layout: Layout, name: str) -> None:
        """Makes an image known as `name`, unless this very content already is."""
        if self.images().get(name) == layout.manifest_digest:
            return
        with tempfile.TemporaryFile() as archive:
            layout.write_archive(archive, name)
            archive.seek(0)
            run(self.command("images", "import", "-"), stdin=archive, seconds=600)
