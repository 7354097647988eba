"""`nacelle inspect`: what a bundle is, from its manifest alone."""

import argparse
from pathlib import Path

from nacelle_engine.bundle import Bundle, read_bundle


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument("--json", action="store_true", help="print the manifest itself")


def run(arguments: argparse.Namespace) -> int:
    """Print the manifest as JSON, or its main facts one a line."""
    bundle = read_bundle(arguments.bundle)
    if arguments.json:
        print(bundle.manifest.model_dump_json(by_alias=True, indent=1))
    else:
        for name, value in _facts(bundle):
            print(f"{name:<14}{value}")
    return 0


def _facts(bundle: Bundle) -> list[tuple[str, str]]:
    m = bundle.manifest
    q = m.quantization
    accuracy = (
        f"mean KL {m.accuracy.mean_kl_divergence}, top-1 {m.accuracy.top_one_agreement_percent} %, "
        f"perplexity {m.accuracy.perplexity_increase_percent} %"
        if m.accuracy
        else "not measured"
    )
    return [
        ("key", m.key),
        ("digest", bundle.digest),
        ("model", f"{m.provenance.model_name} ({m.provenance.model_digest[:16]})"),
        ("target", f"{m.target.architecture} {m.target.gpu_product}"),
        ("abi", m.abi),
        ("precision", f"{q.algorithm}, KV {q.kv_cache}, lm_head {q.lm_head}, {q.compute_type}"),
        (
            "limits",
            f"{m.limits.max_batch_size} requests, {m.limits.max_input_len} in, "
            f"{m.limits.max_seq_len} a sequence, {m.limits.max_num_tokens} tokens a step",
        ),
        ("accuracy", accuracy),
        ("files", f"{len(m.files)}, {bundle.bytes / 1e6:.1f} MB"),
        ("built", f"{m.provenance.built_at} by nacelle {m.provenance.builder_version}"),
    ]
