"""`nacelle bench plans`: its flags."""

import argparse

from nacelle_bench.model_shapes import SHAPES
from nacelle_bench.table import Table
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.precision import QuantizationAlgorithm


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("shape", choices=sorted(SHAPES), help="the model whose layer it is")
    parser.add_argument(
        "--quantization",
        choices=[str(one) for one in QuantizationAlgorithm],
        default=str(QuantizationAlgorithm.FP8_PER_CHANNEL_PER_TOKEN),
        help="of the weights",
    )
    parser.add_argument("--tokens", type=int, default=2048, help="of the largest step")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(arguments: argparse.Namespace) -> Table:
    """Time the plans; InvalidRequest names a flag that is wrong."""
    if arguments.tokens < 1:
        raise InvalidRequest("--tokens: at least 1")
    from nacelle_bench.plans import bench_plans

    algorithm = QuantizationAlgorithm(arguments.quantization)
    return bench_plans(arguments.shape, algorithm, arguments.tokens)
