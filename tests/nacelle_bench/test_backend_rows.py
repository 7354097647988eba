"""A comparison's rows: every figure beside its bound, and the ratio of both."""

from types import SimpleNamespace

from nacelle_bench.backend_rows import Side, comparison
from nacelle_engine.build_memory import BuildMemory


def side(seconds, mib, files, starts, steps, prefill=()):
    manifest = SimpleNamespace(
        provenance=SimpleNamespace(stage_seconds=seconds),
        files=[SimpleNamespace(path=path, size=size) for path, size in files.items()],
    )
    bundle = SimpleNamespace(manifest=manifest, bytes=sum(files.values()))
    engine = {
        "start": [
            {"page_cache": cache, "ready_s": ready, "disk_gb_s": disk}
            for cache, ready, disk in starts
        ],
        "rows": [
            {"batch": batch, "step_ms": step, "floor_ms": floor} for batch, step, floor in steps
        ],
    }
    if prefill:
        names = ("prompts", "length", "ceiling_tok_s", "tok_s")
        engine["prefill"] = [dict(zip(names, one, strict=True)) for one in prefill]
    return Side(bundle, BuildMemory(peak_mib=mib) if mib else None, engine)


NATIVE = side(
    {"convert": 30, "compile": 100},
    20_000,
    {"rank0/weights.safetensors": 9_000_000_000, "rank0/launches.json": 90_000_000},
    [("cold", 14.0, 1.5), ("warm", 7.0, 1.5)],
    [(1, 2.4, 1.8), (8, 2.7, 1.91)],
    [(256, 2048, 110_000.0, 75_000.0)],
)
TENSORRT = side(
    {"convert": 30, "compile": 300, "calibrate": 20},
    None,
    {"rank0/weights.safetensors": 9_000_000_000, "rank0/plans/exit.plan": 1_000_000},
    [("cold", 15.4, 1.2), ("warm", 8.4, 1.2)],
    [(1, 3.0, 1.8), (8, 2.7, 1.9)],
    [(256, 2048, 100_000.0, 60_000.0)],
)


def cells(rows):
    return [
        (r["figure"], r["at"], r["bound"], r["native"], r["tensorrt"], r["ratio"]) for r in rows
    ]


def test_every_figure_of_both():
    assert cells(comparison(NATIVE, TENSORRT)) == [
        ("build_s", "all stages", None, 130, 350, 2.692),
        ("build_s", "convert", None, 30, 30, 1.0),
        ("build_s", "compile", None, 100, 300, 3.0),
        ("build_s", "calibrate", None, None, 20, None),
        ("build_peak_mib", "host", None, 20_000, None, None),
        ("bundle_gb", "", 9.0, 9.09, 9.001, 0.99),
        ("start_s", "cold", 6.0, 14.0, 15.4, 1.1),
        ("start_s", "warm", None, 7.0, 8.4, 1.2),
        ("step_ms", "batch 1", 1.8, 2.4, 3.0, 1.25),
        ("step_ms", "batch 8", 1.9, 2.7, 2.7, 1.0),
        ("prefill_tok_s", "256 x 2048", 110_000.0, 75_000.0, 60_000.0, 0.8),
    ]


def test_prompts_that_were_not_asked_for_have_no_row():
    plain = side({}, None, {}, [], [(1, 2.0, 1.0)])
    assert cells(comparison(plain, plain))[0] == ("build_s", "all stages", None, None, None, None)
    assert {row["figure"] for row in comparison(plain, plain)} == {
        "build_s", "build_peak_mib", "bundle_gb", "step_ms",
    }  # fmt: skip
