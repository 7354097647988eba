"""Sealed bundles of a tiny Llama without its weights: what describes a program, and no program."""

from tiny_llama import SPEC

from nacelle_builder.compile.cpu import signature as cpu_signature
from nacelle_builder.compile.cpu import tactics as cpu_tactics
from nacelle_builder.compile.gpu.lower import lower
from nacelle_builder.compile.gpu.places import places
from nacelle_builder.compile.gpu.signature import signature_of
from nacelle_builder.compile.gpu.tactics import decide
from nacelle_builder.numerics import numerics
from nacelle_engine.abi import ABI, abi_of
from nacelle_engine.bundle import list_files, read_bundle, write_manifest
from nacelle_engine.limits import Limits
from nacelle_engine.manifest import Manifest, Provenance, Target
from nacelle_engine.program.launch import LAUNCHES, LaunchList
from nacelle_engine.program.signature import PROGRAMS, TACTICS
from nacelle_engine.recipe import Recipe
from nacelle_engine.result import Accuracy

LIMITS = Limits(max_batch_size=4, max_input_len=200, max_seq_len=256, max_num_tokens=192)
ACCURACY = Accuracy(
    mean_kl_divergence="0.0144",
    p99_kl_divergence="0.0465",
    top_one_agreement_percent="99.10",
    perplexity_increase_percent="0.486",
    positions=1536,
)
GPU = Recipe(architecture="sm_90", gpu_product="NVIDIA-H200", limits=LIMITS)
CPU = Recipe(architecture="x86-64-v3", limits=LIMITS)


def gpu_bundle(root, *, timed=True, name="tiny", accuracy=ACCURACY):
    """A launch list, its signature and tactics; candidate n of a place takes 10 + n us."""
    rank = root / "rank0"
    (rank / "kernels").mkdir(parents=True)
    signature, every = signature_of(SPEC, GPU), places(SPEC, GPU)
    times = {
        number: {c.kernel.name: 10_000 + 1000 * n for n, c in enumerate(place.candidates)}
        for number, place in enumerate(every)
    }
    chosen, tactics = decide(every, times if timed else {}, "timed on a <GPU>")
    lowered = lower(SPEC, GPU, chosen)
    launches = LaunchList(
        kernels=(), buffers=lowered.buffers, steps=lowered.steps, heads=lowered.heads
    )
    (rank / LAUNCHES).write_text(launches.model_dump_json(by_alias=True))
    for number in range(9):
        (rank / "kernels" / f"{number}.cubin").write_bytes(b"cubin")
    return _seal(root, GPU, signature, tactics, name, accuracy)


def backend_bundle(root, backend, **changes):
    """A GPU's bundle of a backend, some of its manifest's fields changed."""
    manifest = read_bundle(gpu_bundle(root)).manifest
    provenance = manifest.provenance.model_copy(update=changes.pop("provenance", {}))
    changes |= {"abi": abi_of(backend), "provenance": provenance}
    write_manifest(root, manifest.model_copy(update=changes))
    return read_bundle(root)


def cpu_bundle(root, *, timed=True, name="tiny", accuracy=ACCURACY):
    """A CPU's signature and tactics; torch's linear is quicker from 16 tokens on."""
    (root / "rank0").mkdir(parents=True)
    timings = [
        cpu_tactics.Timing(
            linear=linear, tokens=tokens, microseconds={"fused": 10 * tokens, "aten": 100 + tokens}
        )
        for linear in cpu_tactics.LINEARS
        for tokens in (1, 16)
        if timed
    ]
    tactics = cpu_tactics.Tactics(
        reason="timed on the building machine",
        chosen=dict.fromkeys(cpu_tactics.LINEARS, (1, 0, 16, 1)),
        timings=tuple(timings),
    )
    return _seal(root, CPU, cpu_signature.signature_of(SPEC, CPU), tactics, name, accuracy)


def _seal(root, recipe, signature, tactics, name, accuracy):
    rank = root / "rank0"
    (rank / PROGRAMS).write_text(signature.model_dump_json(by_alias=True))
    (rank / TACTICS).write_text(tactics.model_dump_json(by_alias=True))
    manifest = Manifest(
        key="a" * 64,
        target=Target(
            architecture=recipe.architecture, gpu_product=recipe.gpu_product, sm_count=132
        ),
        abi=ABI,
        limits=recipe.limits,
        quantization=recipe.quantization,
        determinism=recipe.determinism,
        numerics=numerics(SPEC, recipe),
        vocab_size=signature.vocab_size,
        hidden_size=signature.hidden_size,
        kv_groups=signature.kv_groups,
        eos_token_ids=(1, 2),
        accuracy=accuracy,
        provenance=Provenance(
            model_name=name,
            source={"repo": "org/model"},
            model_digest="b" * 64,
            builder_version="0",
            built_at="2026-01-01T00:00:00Z",
            stage_seconds={"convert": 3, "compile": 61},
        ),
        files=list_files(root),
    )
    write_manifest(root, manifest)
    return root
