"""`nacelle bench`: speed beside its ceiling and its peer, and what compiling and the core cost."""

import argparse
from pathlib import Path

from nacelle_bench import (
    attention_command,
    backends_command,
    engine_command,
    fusion_command,
    operator_command,
    plans_command,
    serve_command,
    soak_command,
    speculation_command,
)
from nacelle_bench.model_shapes import SHAPES
from nacelle_engine.arch import Architecture


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the benchmarks, each a subcommand."""
    kinds = parser.add_subparsers(dest="benchmark", required=True)
    engine_command.configure(
        kinds.add_parser("engine", help="decode speed of a bundle beside transformers'")
    )
    backends_command.configure(
        kinds.add_parser("backends", help="one checkpoint's bundles of both backends, side by side")
    )
    plans_command.configure(
        kinds.add_parser(
            "plans", help="TensorRT's plans of a layer alone, weights as inputs or not"
        )
    )
    compiling = kinds.add_parser("compile", help="compile time of few and of many layers")
    compiling.add_argument("--hf", type=Path, required=True, help="a checkpoint: its config.json")
    compiling.add_argument(
        "--architecture", type=Architecture, default=Architecture.X86_64_V3, help="CPU level"
    )
    compiling.add_argument("--layers", type=int, nargs="+", default=[4, 30], help="depths")
    compiling.add_argument("--json", action="store_true", help="print JSON instead of a table")
    plot = kinds.add_parser("plot", help="draw the figures kept in a folder")
    plot.add_argument("folder", type=Path, help="where the JSON files are, and the charts go")
    scheduler = kinds.add_parser("scheduler", help="what the core's own work costs a step")
    scheduler.add_argument("--running", type=int, nargs="+", default=[1, 64, 512], help="requests")
    scheduler.add_argument("--context", type=int, default=1000, help="prompt tokens of each")
    scheduler.add_argument("--steps", type=int, default=300, help="steps measured of each row")
    scheduler.add_argument("--json", action="store_true", help="print JSON instead of a table")
    serve_command.configure(
        kinds.add_parser("serve", help="speed of a server under load: rates, latencies, goodput")
    )
    model = kinds.add_parser("model", help="write a checkpoint of random weights to measure with")
    model.add_argument("shape", choices=sorted(SHAPES), help="the model whose shape it has")
    model.add_argument("folder", type=Path, help="where it goes; must not be there yet")
    model.add_argument("--layers", type=int, help="another number of layers")
    model.add_argument("--seed", type=int, default=0)
    model.add_argument("--json", action="store_true", help="print JSON instead of a table")
    speculation_command.configure(
        kinds.add_parser("speculation", help="answers of real text with drafted tokens and without")
    )
    soak_command.configure(
        kinds.add_parser("soak", help="a server under mixed traffic: what grows, what is left")
    )
    operator_command.configure(
        kinds.add_parser("operator", help="the operator with a thousand builds and deployments")
    )
    attention_command.configure(
        kinds.add_parser("attention", help="FlashInfer's attention beside ours and compiled ones")
    )
    fusion_command.configure(
        kinds.add_parser("fusion", help="a layer's launches, bytes and time beside eager torch")
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen benchmark and print its table, or draw what earlier runs found."""
    if arguments.benchmark == "plot":
        from nacelle_bench.plots import write_charts

        print("\n".join(str(path) for path in write_charts(arguments.folder)))
        return 0
    if arguments.benchmark == "engine":
        result = engine_command.run(arguments)
    elif arguments.benchmark == "scheduler":
        from nacelle_bench.scheduler import bench_scheduler

        result = bench_scheduler(arguments.running, arguments.context, arguments.steps)
    elif arguments.benchmark == "serve":
        from nacelle_bench.serve import bench_serve

        result = bench_serve(arguments)
    elif arguments.benchmark == "model":
        from nacelle_bench.random_model import write_model

        result = write_model(arguments.shape, arguments.folder, arguments.layers, arguments.seed)
    elif arguments.benchmark == "speculation":
        from nacelle_bench.speculation import bench_speculation

        result = bench_speculation(arguments)
    elif arguments.benchmark == "soak":
        from nacelle_bench.soak import bench_soak

        result = bench_soak(arguments)
    elif arguments.benchmark == "operator":
        from nacelle_bench.operator_scale import bench_operator

        result = bench_operator(arguments)
    elif arguments.benchmark == "backends":
        result = backends_command.run(arguments)
    elif arguments.benchmark == "plans":
        result = plans_command.run(arguments)
    elif arguments.benchmark == "attention":
        result = attention_command.run(arguments)
    elif arguments.benchmark == "fusion":
        result = fusion_command.run(arguments)
    else:
        from nacelle_bench.compiling import bench_compile

        result = bench_compile(arguments.hf, arguments.architecture, arguments.layers)
    print(result.json() if arguments.json else result.text())
    return 0
