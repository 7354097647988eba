"""seal: programs, weights, tokenizer and manifest as one whole bundle in <work>/bundle."""

import datetime
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nacelle_builder.build import BUNDLE, CHECKPOINT, RANK0, Build, Facts
from nacelle_builder.convert import checkpoint
from nacelle_builder.durable import link_or_copy, sync_tree
from nacelle_builder.numerics import numerics
from nacelle_builder.report import Report
from nacelle_builder.source.files import CheckpointFiles, find_checkpoint, read_json
from nacelle_builder.source.generation import eos_token_ids, generation_config
from nacelle_builder.source.model_config import model_config
from nacelle_engine.abi import abi_of
from nacelle_engine.build_memory import BUILD, BuildMemory
from nacelle_engine.bundle import CONFIG, list_files, write_manifest
from nacelle_engine.limits import TOKENS_PER_BLOCK, Limits
from nacelle_engine.manifest import Manifest, Provenance, Target
from nacelle_engine.model.family import read_spec
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.program.signature import Signature, read_signature


def run(build: Build, facts: Facts, report: Report) -> Facts:
    """Write <work>/bundle; the manifest is its last file."""
    files = find_checkpoint(Path(facts.model_folder))
    bundle = build.work / BUNDLE
    (bundle / RANK0).mkdir(parents=True)
    for path in sorted((build.work / RANK0).rglob("*")):
        if path.is_file():
            place = bundle / RANK0 / path.relative_to(build.work / RANK0)
            place.parent.mkdir(exist_ok=True)
            link_or_copy(path, place)
    _write_tokenizer(files, bundle / "tokenizer")
    config = {
        "version": version("nacelle"),
        "pretrained_config": read_json(build.work / CHECKPOINT / checkpoint.CONFIG),
        "build_config": build_config(build.request.recipe.limits),
    }
    (bundle / CONFIG).write_text(json.dumps(config, indent=1))
    if facts.peak_mib:
        held = BuildMemory(peak_mib=facts.peak_mib)
        (bundle / BUILD).write_text(held.model_dump_json(by_alias=True))
    sync_tree(bundle)
    report(50, "hashing the bundle")
    signature = read_signature(bundle / RANK0)
    spec = read_spec(model_config(files))
    write_manifest(bundle, _manifest(build, facts, signature, spec, eos_token_ids(files)))
    return facts


def build_config(limits: Limits) -> dict[str, Any]:
    """The limits under BuildConfig's names."""
    return {
        "max_batch_size": limits.max_batch_size,
        "max_input_len": limits.max_input_len,
        "max_seq_len": limits.max_seq_len,
        "max_num_tokens": limits.max_num_tokens,
        "opt_num_tokens": limits.max_batch_size,
        "max_beam_width": 1,
        "kv_cache_type": "PAGED",
        "tokens_per_block": TOKENS_PER_BLOCK,
    }


def _write_tokenizer(files: CheckpointFiles, folder: Path) -> None:
    folder.mkdir()
    for path in files.tokenizer:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "generation_config.json").write_text(json.dumps(generation_config(files), indent=1))


def _manifest(
    build: Build, facts: Facts, signature: Signature, spec: ModelSpec, eos: tuple[int, ...]
) -> Manifest:
    recipe = build.request.recipe
    now = datetime.datetime.now(datetime.UTC)
    return Manifest(
        key=facts.engine_key,
        target=Target(
            architecture=recipe.architecture,
            gpu_product=recipe.gpu_product,
            sm_count=build.sm_count,
        ),
        abi=abi_of(recipe.backend),
        limits=recipe.limits,
        quantization=recipe.quantization,
        determinism=recipe.determinism,
        numerics=numerics(spec, recipe),
        vocab_size=signature.vocab_size,
        hidden_size=signature.hidden_size,
        tokens_per_block=signature.tokens_per_block,
        kv_groups=signature.kv_groups,
        eos_token_ids=eos,
        accuracy=facts.accuracy,
        provenance=Provenance(
            model_name=build.request.model_name,
            source=build.source,
            model_digest=facts.model_digest,
            calibration_digest=facts.calibration_digest,
            builder_version=version("nacelle"),
            built_at=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            stage_seconds=facts.stage_seconds,
        ),
        files=list_files(build.work / BUNDLE),
    )
