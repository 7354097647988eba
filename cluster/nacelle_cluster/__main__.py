"""`python -m nacelle_cluster`: the embedded cluster's commands."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from nacelle_cluster.cluster import Embedded
from nacelle_cluster.connection import EmbeddedCluster, embedded
from nacelle_cluster.containerd import Containerd
from nacelle_cluster.errors import ClusterError
from nacelle_cluster.health import problems
from nacelle_cluster.images import ImageContent, Layout, write_layout
from nacelle_cluster.parts import ON_REQUEST
from nacelle_cluster.processes import node_pid
from nacelle_cluster.reporting import stopwatch
from nacelle_cluster.settings import Settings, read_settings


def prepare(settings: Settings, _arguments: argparse.Namespace) -> int:
    """Makes what the cluster is made of and starts nothing; with KUBECONFIG set, nothing at all."""
    if settings.kubeconfig is None:
        Embedded(settings.name, settings.home).prepare(stopwatch())
    return 0


def up(settings: Settings, arguments: argparse.Namespace) -> int:
    """Brings the cluster up and says how to use it."""
    spec = Embedded(settings.name, settings.home).up(stopwatch(), tuple(arguments.extra))
    print(f"KUBECONFIG={spec.kubeconfig}\nREGISTRY={spec.registry}")
    return 0


def down(settings: Settings, arguments: argparse.Namespace) -> int:
    """Takes the cluster down and says what it could not take away."""
    report = stopwatch()
    commands = Embedded(settings.name, settings.home)
    commands.down(wipe=arguments.wipe)
    report(f"cluster {settings.name} is down")
    return _tell(commands.leftovers())


def status(settings: Settings, _arguments: argparse.Namespace) -> int:
    """Says whether the cluster is usable, and if not, why."""
    spec = Embedded(settings.name, settings.home).spec()
    found = ["it was never up"] if spec is None else problems(spec)
    if found:
        print(f"cluster {settings.name}: " + "\n  ".join(found))
        return 1
    assert spec is not None
    print(f"cluster {settings.name} is up: {spec.server}, registry {spec.registry}")
    return 0


def check(settings: Settings, _arguments: argparse.Namespace) -> int:
    """Lists what of the cluster is on the machine; exit code 1 when anything is."""
    return _tell(Embedded(settings.name, settings.home).leftovers())


def environment(settings: Settings, _arguments: argparse.Namespace) -> int:
    """Prints what a shell needs: `eval "$(python -m nacelle_cluster env)"`."""
    cluster = embedded(settings)
    print(f"export KUBECONFIG={cluster.kubeconfig}")
    print(f"export REGISTRY={cluster.registry.name} REGISTRY_PLAIN_HTTP=1")
    print(f"export PATH={cluster.kubectl.parent}:$PATH")
    return 0


def execute(settings: Settings, arguments: argparse.Namespace) -> int:
    """Runs a command inside the node."""
    command = embedded(settings).node_command(arguments.command)
    os.execvp(command[0], command)


def kubectl(settings: Settings, arguments: argparse.Namespace) -> int:
    """Runs kubectl against the cluster."""
    cluster = embedded(settings)
    os.execv(
        cluster.kubectl,
        ["kubectl", f"--kubeconfig={cluster.kubeconfig}", *arguments.command],
    )


def image(_settings: Settings, arguments: argparse.Namespace) -> int:
    """Writes an OCI layout of a folder's content."""
    content = ImageContent({".": arguments.source}, {}, compress=not arguments.plain)
    layout = write_layout(content, arguments.layout)
    print(layout.manifest_digest)
    return 0


def import_image(settings: Settings, arguments: argparse.Namespace) -> int:
    """Puts an OCI layout into the node's image store under a name."""
    cluster = embedded(settings)
    pid = node_pid(cluster.spec)
    if pid is None:
        raise ClusterError(f"cluster {settings.name} is down")
    parts = Embedded(settings.name, settings.home).parts
    Containerd(parts, pid).import_image(Layout(arguments.layout), arguments.name)
    return 0


def push(settings: Settings, arguments: argparse.Namespace) -> int:
    """Pushes an OCI layout to the registry; prints the name for pods."""
    cluster: EmbeddedCluster = embedded(settings)
    print(cluster.push_image(Layout(arguments.layout), arguments.repository, arguments.tag))
    return 0


def _tell(leftovers: Sequence[str]) -> int:
    for line in leftovers:
        print(f"still there: {line}")
    return 1 if leftovers else 0


Command = Callable[[Settings, argparse.Namespace], int]


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    top = argparse.ArgumentParser(prog="python -m nacelle_cluster", description=__doc__)
    top.add_argument("--name", help="the cluster's name (default: NACELLE_CLUSTER, or nacelle)")
    commands = top.add_subparsers(dest="chosen", required=True)

    def add(name: str, run: Command) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        command.set_defaults(run=run)
        return command

    add("prepare", prepare)
    begin = add("up", up)
    begin.add_argument("--with", dest="extra", action="append", default=[], choices=ON_REQUEST)
    end = add("down", down)
    end.add_argument("--wipe", action="store_true", help="delete images and registry data too")
    add("status", status)
    add("check", check)
    add("env", environment)
    for name, run in (("exec", execute), ("kubectl", kubectl)):
        add(name, run).add_argument("command", nargs=argparse.REMAINDER)
    write = add("image", image)
    write.add_argument("source", type=Path, help="folder with the image's files")
    write.add_argument("layout", type=Path, help="folder to write")
    write.add_argument("--plain", action="store_true", help="leave the layer uncompressed")
    put = add("import-image", import_image)
    put.add_argument("layout", type=Path)
    put.add_argument("name", help="the image's full name")
    send = add("push", push)
    send.add_argument("layout", type=Path)
    send.add_argument("repository")
    send.add_argument("tag")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; an error of ours is told in its own words and is exit code 1."""
    arguments = parser().parse_args(argv)
    try:
        settings = read_settings()
        if arguments.name:
            settings = replace(settings, name=arguments.name)
        code: int = arguments.run(settings, arguments)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
