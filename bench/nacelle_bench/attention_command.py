"""`nacelle bench attention`: its flags, and what they mean."""

import argparse
from pathlib import Path

from nacelle_bench.table import Table
from nacelle_engine.arch import Architecture
from nacelle_engine.errors import InvalidRequest

_TILE = 128


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--libraries", type=Path, help="folder of compiled libraries; missing ones are made there"
    )
    parser.add_argument(
        "--compile-only",
        type=Architecture,
        metavar="ARCHITECTURE",
        help="only compile into --libraries, for sm_80, sm_89, sm_90 or sm_100; needs no GPU",
    )
    parser.add_argument("--heads", type=int, default=32, help="query heads")
    parser.add_argument("--kv-heads", type=int, default=8, help="KV heads")
    parser.add_argument("--head-dim", type=int, default=128, help="head size")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32, 128], help="of decode")
    parser.add_argument(
        "--context", type=int, nargs="+", default=[512, 2048, 8192], help="tokens, of decode"
    )
    parser.add_argument("--prompts", type=int, default=4, help="requests of the prefill")
    parser.add_argument("--prompt", type=int, default=2048, help="tokens a prompt")
    parser.add_argument(
        "--every-choice", action="store_true", help="time all tile sizes of our kernels"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(arguments: argparse.Namespace) -> Table:
    """Run the benchmark, or compile alone; InvalidRequest names a flag that is wrong."""
    for name in ("heads", "kv_heads", "head_dim", "batch", "context", "prompts", "prompt"):
        values = getattr(arguments, name)
        if min(values if isinstance(values, list) else [values]) < 1:
            raise InvalidRequest(f"--{name.replace('_', '-')}: at least 1")
    if arguments.compile_only is not None:
        return _compile(arguments)
    for tokens in (*arguments.context, arguments.prompt):
        if tokens % _TILE:
            raise InvalidRequest(
                f"--context, --prompt: {tokens} is no multiple of {_TILE}, FlexAttention's tile"
            )
    return _bench(arguments)


def _compile(arguments: argparse.Namespace) -> Table:
    if arguments.libraries is None:
        raise InvalidRequest("--compile-only needs --libraries, the folder to compile into")
    if arguments.compile_only.is_cpu:
        raise InvalidRequest(f"--compile-only: {arguments.compile_only.value} is not a GPU")
    from nacelle_bench.attention_libraries import compile_table, shapes_of

    sizes = (arguments.heads, arguments.kv_heads, arguments.head_dim)
    return compile_table(shapes_of(*sizes, arguments.compile_only), arguments.libraries)


def _bench(arguments: argparse.Namespace) -> Table:
    from nacelle_bench.attention_libraries import require_gpu

    architecture = require_gpu()
    from nacelle_bench.attention import Settings, bench_attention
    from nacelle_bench.attention_workload import Case

    decode = [Case(batch, tokens) for tokens in arguments.context for batch in arguments.batch]
    settings = Settings(
        heads=arguments.heads,
        kv_heads=arguments.kv_heads,
        head_dim=arguments.head_dim,
        cases=(*decode, Case(arguments.prompts, arguments.prompt, prefill=True)),
        every_choice=arguments.every_choice,
    )
    return bench_attention(settings, architecture, arguments.libraries)
