"""The `nacelle` command: a table of subcommands, each imported when it is chosen."""

import argparse
import importlib
import os
import sys
from importlib.metadata import version

from nacelle_engine.errors import NacelleError
from nacelle_engine.openmp import limit_waiting

# A command is a module with configure(parser) and run(arguments) -> exit code.
COMMANDS = {
    "build": ("nacelle_builder.commands.build", "build an engine from a model folder"),
    "model": ("nacelle_builder.commands.model", "fetch a model's checkpoint"),
    "inspect": ("nacelle_cli.inspect", "print what a bundle is"),
    "report": ("nacelle_cli.report", "write what a bundle is and costs as one HTML page"),
    "verify": (
        "nacelle_cli.verify",
        "check a bundle's digests, and its target against this machine",
    ),
    "serve": ("nacelle_runtime.commands.serve", "serve a bundle through the OpenAI API"),
    "triton": (
        "nacelle_runtime.commands.triton",
        "write the model repository of a Triton server beside serve",
    ),
    "status": ("nacelle_cli.status.command", "show what a cluster builds and serves, live"),
    "bench": ("nacelle_bench.command", "measure an engine beside its ceiling and its peer"),
}
# They share their node with other work; a benchmark's peer is measured as it would run.
_ON_NODES = frozenset({"build", "serve"})
# What brings the libraries of a package's commands; benchmarks need two.
_EXTRAS = {"nacelle_builder": "builder", "nacelle_runtime": "runtime", "nacelle_cli": "status"}
# As a shell tells of a process that a closed pipe has ended: 128 and SIGPIPE.
_PIPE_CLOSED = 141


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand; errors of ours end in one line and their own exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    outer = _outer_parser()
    chosen = outer.parse_args(arguments[:1])
    if chosen.command in _ON_NODES:
        limit_waiting(os.environ)
    module_name, help_text = COMMANDS[chosen.command]
    try:
        command = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(module_name.split(".")[0], "builder,runtime")
        print(
            f"nacelle {chosen.command}: {error.name} is not installed: "
            f"pip install 'nacelle[{extra}]'",
            file=sys.stderr,
        )
        return 1
    parser = argparse.ArgumentParser(prog=f"nacelle {chosen.command}", description=help_text)
    command.configure(parser)
    try:
        code: int = command.run(parser.parse_args(arguments[1:]))
        sys.stdout.flush()
    except BrokenPipeError:
        # Who read our output has left, as `head` does: what is still to be written goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except NacelleError as error:
        print(f"nacelle {chosen.command}: {error.code}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return code


def _outer_parser() -> argparse.ArgumentParser:
    lines = "\n".join(f"  {name:<10} {text}" for name, (_, text) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="nacelle",
        usage="nacelle COMMAND ...",
        description=f"Builds and serves LLM inference engines.\n\ncommands:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nacelle {version('nacelle')}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
