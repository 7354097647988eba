"""`python -m nacelle_images`: the images of this checkout into a registry, and what they hold."""

import argparse
import sys
from pathlib import Path

from nacelle_cluster.connection import connect
from nacelle_cluster.errors import ClusterError
from nacelle_cluster.reporting import stopwatch
from nacelle_cluster.settings import read_settings
from nacelle_images.publish import Publisher
from nacelle_images.settings import read_image_settings
from nacelle_images.spec import IMAGES, ON_DEMAND, ImageSpec

KNOWN = {spec.name: spec for spec in (*IMAGES, *ON_DEMAND)}


def main() -> int:
    """Run one subcommand; what stops it is said in one line."""
    arguments = _parser().parse_args()
    try:
        cluster = connect(read_settings(), stopwatch())
        publisher = Publisher(read_image_settings(), cluster.registry, stopwatch())
        return _run(arguments, publisher)
    except ClusterError as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(arguments: argparse.Namespace, publisher: Publisher) -> int:
    if arguments.command == "model":
        print(publisher.publish_model(arguments.checkpoint, arguments.name))
        return 0
    if arguments.command == "check":
        broken = publisher.check(arguments.images or IMAGES)
        print("\n".join(broken) or "every image holds what it must and nothing that it must not")
        return 1 if broken else 0
    for name, reference in publisher.publish(arguments.images or IMAGES).items():
        print(f"{name:<10}{reference}")
    return 0


def _spec(name: str) -> ImageSpec:
    """The image of that name."""
    if name not in KNOWN:
        raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(KNOWN)}")
    return KNOWN[name]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nacelle_images",
        description="The registry is the embedded cluster's, or REGISTRY where KUBECONFIG is set.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    publish = commands.add_parser("publish", help="build and push what the registry lacks")
    check = commands.add_parser("check", help="build, and inspect what each image holds")
    for command in (publish, check):
        command.add_argument(
            "images",
            nargs="*",
            type=_spec,
            metavar="IMAGE",
            help=f"one of {', '.join(KNOWN)}; default: those that every installation needs, "
            f"{', '.join(spec.name for spec in IMAGES)}",
        )
    model = commands.add_parser("model", help="push a fetched checkpoint as an image over scratch")
    model.add_argument("checkpoint", type=Path, help="a folder that `nacelle model fetch` made")
    model.add_argument("name", help="the model's name, lower case")
    return parser


if __name__ == "__main__":
    sys.exit(main())
