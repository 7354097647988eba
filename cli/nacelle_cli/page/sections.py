"""The page's parts: what was built, for what, and what the gate found."""

from collections.abc import Iterable
from typing import Final

from nacelle_cli.page.facts import Facts
from nacelle_cli.page.figures import count, size, span
from nacelle_cli.page.html import Html, bar, code, facts, join, paragraph, section, table
from nacelle_engine.manifest import FileEntry, Manifest
from nacelle_engine.result import Accuracy

# A folder of more files than these is one row.
_FILES_OF_A_FOLDER: Final = 8


def built(found: Facts) -> Html:
    """Model, recipe and limits."""
    m, q = found.manifest, found.manifest.quantization
    source = ", ".join(f"{name} {value}" for name, value in m.provenance.source.items())
    calibrated = m.provenance.calibration_digest
    return section(
        "What was built",
        facts(
            [
                ("model", m.provenance.model_name),
                ("source", source),
                ("digest of the source", code(m.provenance.model_digest)),
                ("engine key", code(m.key)),
                ("digest of the bundle", code(found.digest)),
                ("linear weights", q.algorithm.value),
                ("KV cache", _or_compute(q.kv_cache.value, q.compute_type.value)),
                ("lm_head", _or_compute(q.lm_head.value, q.compute_type.value)),
                ("computed in", q.compute_type.value),
                ("static scales", code(calibrated) if calibrated else "none"),
                ("determinism", m.determinism.value),
                ("layers", _layers(m)),
                ("vocabulary", f"{count(m.vocab_size)} tokens, hidden size {count(m.hidden_size)}"),
                ("end tokens", ", ".join(str(token) for token in m.eos_token_ids)),
            ]
        ),
        table(
            "Limits",
            ("limit", "at most"),
            [
                ("requests in a step", count(m.limits.max_batch_size)),
                ("tokens of a prompt", count(m.limits.max_input_len)),
                ("tokens of a prompt and its answer", count(m.limits.max_seq_len)),
                ("tokens in a step", count(m.limits.max_num_tokens)),
            ],
        ),
    )


def target(found: Facts) -> Html:
    """The hardware and runtime that the bundle is for."""
    m = found.manifest
    pairs: list[tuple[str, object]] = [("architecture", m.target.architecture.value)]
    if not m.target.architecture.is_cpu:
        product = "any product" if m.target.gpu_product == "any" else m.target.gpu_product
        pairs += [("product", product), ("multiprocessors", m.target.sm_count or "not recorded")]
    form = "a list of launches" if found.signature.form == "launches" else "compiled libraries"
    pairs += [("runtime ABI", code(m.abi)), ("program", form)]
    note = paragraph("Any other architecture or ABI is refused before a file is opened.")
    return section("What it runs on", facts(pairs), note)


def accuracy(found: Facts) -> Html:
    """The gate's figures beside their meaning."""
    measured = found.manifest.accuracy
    return section(
        "What the gate found",
        _quality(measured) if measured else paragraph("Quality was not measured."),
        paragraph(
            "Two checks have no figures here, since a bundle that fails them is never sealed: "
            "every weight lies within FP8's rounding of its source, and the logits of prefill, "
            "decode and mixed steps are those of the original model with the same rounded "
            "weights, up to what rounding explains."
        ),
    )


def _quality(measured: Accuracy) -> Html:
    rows = [
        (
            "mean KL divergence",
            measured.mean_kl_divergence,
            "nats between the original's and the engine's next token, over all positions; "
            "0 is the same",
        ),
        (
            "99th percentile of it",
            measured.p99_kl_divergence,
            "what one position in a hundred exceeds",
        ),
        (
            "same first choice",
            f"{measured.top_one_agreement_percent} %",
            "positions with the original's most likely token, where that leads clearly",
        ),
        (
            "perplexity",
            f"{_signed(measured.perplexity_increase_percent)} %",
            "how much worse the text is predicted than by the original",
        ),
    ]
    return join(
        [
            table("Quality against the original model in float32", _QUALITY, rows),
            paragraph(
                f"Measured teacher-forced on the built-in text, {count(measured.positions)} "
                "positions. The build's own bounds decide whether the figures are good enough."
            ),
        ]
    )


_QUALITY: Final = ("figure", "measured", "meaning")


def numerics(found: Facts) -> Html:
    """Types by the number of tokens in a step."""
    rows = [
        (span(n.min_tokens, n.max_tokens), n.weights, n.activations, n.accumulation)
        for n in found.manifest.numerics
    ]
    columns = ("tokens in a step", "weights", "activations", "sums")
    return section("Numerics", table("What is computed in which type", columns, rows))


def stages(found: Facts) -> Html:
    """Where the build's time went, and what memory it took."""
    p = found.manifest.provenance
    seconds = p.stage_seconds
    largest = max(seconds.values(), default=0)
    rows = [(name, f"{count(value)} s", bar(value, largest)) for name, value in seconds.items()]
    held = found.built_in
    memory = f" Its processes held {size(held.peak_mib * 2**20)} at most." if held else ""
    built = f"Built at {p.built_at} by nacelle {p.builder_version}, "
    told = paragraph(built, _whole(seconds), memory)
    if not rows:
        return section("The build", told)
    return section("The build", told, table("Seconds of each stage", ("stage", "took", ""), rows))


def files(found: Facts) -> Html:
    """Every file, or a row for a folder of many."""
    every = found.manifest.files
    rows = [(code(name), size(taken), digest) for name, taken, digest in _file_rows(every)]
    whole = sum(entry.size for entry in every)
    told = paragraph(f"{count(len(every))} files, {size(whole)}, beside the manifest.")
    columns = ("file", "size", "SHA-256")
    return section("Files", told, table("The bundle's files", columns, rows))


def _file_rows(files: Iterable[FileEntry]) -> list[tuple[str, int, Html | str]]:
    folders: dict[str, list[FileEntry]] = {}
    for entry in files:
        folders.setdefault(entry.path.rpartition("/")[0], []).append(entry)
    rows: list[tuple[str, int, Html | str]] = []
    for folder, entries in folders.items():
        if len(entries) > _FILES_OF_A_FOLDER:
            whole = sum(entry.size for entry in entries)
            rows.append((f"{folder}/", whole, f"{len(entries)} files, each in the manifest"))
        else:
            rows += [(entry.path, entry.size, code(entry.sha256[:16])) for entry in entries]
    return rows


def _layers(manifest: Manifest) -> str:
    return "; ".join(
        f"{group.layers} {group.name}"
        + (f" (window {count(group.window)})" if group.window else "")
        + f", {group.kv_heads} KV heads of {group.head_dim}"
        for group in manifest.kv_groups
    )


def _or_compute(value: str, compute_type: str) -> str:
    return compute_type if value == "NONE" else value


def _signed(percent: str) -> str:
    return percent if percent.startswith("-") else f"+{percent}"


def _whole(seconds: dict[str, int]) -> str:
    return f"in {count(sum(seconds.values()))} s." if seconds else "in a time not recorded."
