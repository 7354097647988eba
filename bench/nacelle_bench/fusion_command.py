"""`nacelle bench fusion`: its flags, and what they mean."""

import argparse
from pathlib import Path

from nacelle_bench.fusion_case import Case
from nacelle_bench.table import Table
from nacelle_engine.bundle import check_target, read_bundle
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.limits import Limits
from nacelle_engine.machine import this_machine


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("bundle", type=Path, help="a sealed bundle of a GPU")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32, 128], help="of decode")
    parser.add_argument("--context", type=int, default=256, help="tokens of each, of decode")
    parser.add_argument(
        "--prefill", type=int, nargs="*", default=[2048], help="tokens of a prompt, alone in a step"
    )
    parser.add_argument(
        "--norm-eps", type=float, default=1e-5, help="the model's rms_norm_eps; no bundle tells it"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(arguments: argparse.Namespace) -> Table:
    """Run the benchmark; InvalidRequest names a flag that is wrong."""
    bundle = read_bundle(arguments.bundle)
    check_target(bundle, this_machine())
    if bundle.manifest.target.architecture.is_cpu:
        raise InvalidRequest(f"{arguments.bundle}: fusion is measured of a bundle of a GPU")
    decode = [Case(batch, 1, arguments.context) for batch in arguments.batch]
    prefill = [Case(1, tokens, tokens) for tokens in arguments.prefill]
    cases = (*decode, *prefill)
    for case in cases:
        check_case(case, bundle.manifest.limits)
    from nacelle_bench.fusion import bench_fusion

    return bench_fusion(bundle, cases, arguments.norm_eps)


def check_case(case: Case, limits: Limits) -> None:
    """Refuse what the engine was not built for."""
    if min(case.requests, case.count, case.context) < 1:
        raise InvalidRequest("--batch, --context, --prefill: at least 1")
    if case.requests > limits.max_batch_size:
        raise InvalidRequest(
            f"--batch {case.requests}: the engine takes {limits.max_batch_size} requests at most"
        )
    if case.context > limits.max_seq_len:
        raise InvalidRequest(
            f"--context, --prefill: {case.context} tokens are more than the engine's sequences of "
            f"{limits.max_seq_len}"
        )
    if case.count > limits.max_num_tokens:
        raise InvalidRequest(
            f"--prefill {case.count}: the engine takes {limits.max_num_tokens} tokens a step"
        )
