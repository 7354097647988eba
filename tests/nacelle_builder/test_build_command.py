"""`nacelle build` at its edge: flags, requests, exit codes, results, and what is refused early."""

import argparse
import errno
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace

import pytest

from nacelle_builder.build import Build, work_folder
from nacelle_builder.commands import build as command
from nacelle_builder.commands.build_flags import request_of
from nacelle_builder.lock import exclusive
from nacelle_builder.pipeline import Marker
from nacelle_builder.request_checks import check_recipe
from nacelle_builder.run_build import BuildFailed, run_build
from nacelle_builder.settings import REQUEST_VARIABLE, HubAccess
from nacelle_builder.source.digest import DigestCache, model_digest
from nacelle_builder.source.files import find_checkpoint
from nacelle_builder.source.generation import eos_token_ids
from nacelle_builder.stages import convert as convert_stage
from nacelle_builder.stages.list import stages_of
from nacelle_builder.work import sweep
from nacelle_cli.main import main
from nacelle_engine.errors import (
    CorruptBundle,
    GpuOutOfMemory,
    InvalidModel,
    InvalidRequest,
    OutOfMemory,
    SourceUnavailable,
    StoreUnavailable,
    TargetMismatch,
)
from nacelle_engine.machine import Gpu, Machine
from nacelle_engine.recipe import Recipe, engine_key
from nacelle_engine.request import BuildRequest, FolderSource

NACELLE = [sys.executable, "-m", "nacelle_cli.main", "build"]
V3 = frozenset(["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"])
H200 = Gpu((9, 0), "NVIDIA-H200", 132, 140 << 30)


def parsed(*flags):
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return parser.parse_args(flags)


def request_for(folder, store, **fields):
    source = FolderSource(path=str(folder), digest=fields.pop("digest", None))
    recipe = Recipe(**{"architecture": "x86-64-v3", **fields})
    return BuildRequest(model_name="m", folder=source, recipe=recipe, store=str(store))


def build_of(request, machine=None):
    given = {} if machine is None else {"machine": machine}
    return Build(request=request, work=work_folder(request), access=HubAccess(), **given)


def failed(request, machine=None):
    with pytest.raises(BuildFailed) as info:
        run_build(build_of(request, machine), lambda progress: None)
    return info.value


def test_flags_make_a_request(tmp_path):
    flags = "--target x86-64-v4 --quantization NONE --compute-type float32"
    flags += f" --max-batch-size 8 --samples 16 --store {tmp_path}"
    request = request_of(parsed(str(tmp_path / "smol"), *flags.split()))
    assert request.model_name == "smol"
    assert request.folder.path == str(tmp_path / "smol")
    assert request.recipe.architecture == "x86-64-v4"
    assert request.recipe.quantization.algorithm == "NONE"
    assert request.recipe.limits.max_batch_size == 8
    assert request.accuracy.samples == 16
    hub = request_of(parsed("hf:org/tiny@" + "a" * 40)).hugging_face
    assert (hub.repo, hub.revision) == ("org/tiny", "a" * 40)


def test_calibration_flags_make_a_calibration():
    flags = "m --quantization FP8 --calibration-method Percentile --calibration-percentile 99.9"
    flags += " --calibration-samples 7 --calibration-path data/a.jsonl"
    calibration = request_of(parsed(*flags.split())).recipe.quantization.calibration
    assert calibration.model_dump(mode="json") == {
        "method": "Percentile",
        "percentile": "99.9",
        "samples": 7,
        "path": "data/a.jsonl",
    }
    assert request_of(parsed("m", "--quantization", "FP8")).recipe.quantization.calibration is None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "name a model folder"),
        (["hf:org/tiny@main"], "40 hex digits"),
        (["m", "--target", "sparc"], "'sparc' is unknown"),
        (["m", "--max-input-len", "9", "--max-seq-len", "9"], "maxInputLen 9 must be below"),
        (["m", "--max-kl-divergence", "little"], "--max-kl-divergence"),
        (["m", "--model-digest", "xyz"], "--digest"),
        (
            ["m", "--calibration-samples", "3"],
            "calibration has no meaning with algorithm FP8_PER_CHANNEL_PER_TOKEN and kvCache NONE",
        ),
        (["m", "--calibration-percentile", "much"], "--calibration-percentile: "),
        (["m", "--calibration-percentile", "99"], "no meaning with method AbsMax"),
        (["m", "--calibration-path", "/a.txt"], "must be relative to the model's folder"),
        (
            ["hf:org/tiny@" + "a" * 40, "--kv-cache", "FP8", "--calibration-path", "a.txt"],
            "a hub's model has none",
        ),
    ],
)
def test_wrong_flags_are_named(flags, message):
    with pytest.raises(InvalidRequest, match=message):
        request_of(parsed(*flags))


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"architecture": "sm_90"}, TargetMismatch, "and this machine has no GPU"),
        (
            {"architecture": "sm_90", "quantization": {"computeType": "float32"}},
            InvalidRequest,
            "computeType float32 is built for CPU targets only; sm_90 computes in bfloat16",
        ),
        (
            {"architecture": "sm_80", "quantization": {"kvCache": "FP8"}},
            InvalidRequest,
            "quantization.kvCache FP8 needs sm_89 or later, the target is sm_80: use NONE",
        ),
        (
            {"architecture": "sm_90", "quantization": {"lmHead": "FP8"}},
            InvalidRequest,
            "quantization.lmHead FP8 is not built yet: use NONE",
        ),
        ({"gpu_product": "NVIDIA-H200"}, InvalidRequest, "gpuProduct 'NVIDIA-H200'"),
        (
            {"quantization": {"algorithm": "FP8"}},
            InvalidRequest,
            r"quantization.algorithm FP8 \(static scales\) is not built yet for CPU architectures: "
            "use FP8_PER_CHANNEL_PER_TOKEN or NONE",
        ),
        (
            {"quantization": {"kvCache": "FP8"}},
            InvalidRequest,
            "quantization.kvCache FP8 is not built yet for CPU architectures: use NONE",
        ),
        (
            {"quantization": {"lmHead": "FP8"}},
            InvalidRequest,
            "quantization.lmHead FP8 is not built yet: use NONE",
        ),
        ({"architecture": "x86-64-v4"}, TargetMismatch, "lacks avx512bw, avx512cd"),
    ],
)
def test_what_cannot_be_built_here_is_refused_by_name(fields, error, message):
    with pytest.raises(error, match=message):
        check_recipe(Recipe(**{"architecture": "x86-64-v3", **fields}), Machine(V3))


@pytest.mark.parametrize(
    ("architecture", "product", "message"),
    [
        ("sm_90", "any", None),
        ("sm_90", "NVIDIA-H200", None),
        ("sm_90", "NVIDIA-H20", r"for sm_90 \(NVIDIA-H20\) cannot be built here"),
        ("sm_100", "any", r"this machine's GPU is NVIDIA-H200 \(sm_90, 132 SMs\)"),
    ],
)
def test_a_gpu_engine_is_built_on_its_gpu(architecture, product, message):
    recipe = Recipe(architecture=architecture, gpu_product=product)
    context = pytest.raises(TargetMismatch, match=message) if message else nullcontext()
    with context:
        check_recipe(recipe, Machine(V3, H200))


def test_a_foreign_target_is_refused_before_any_work(tiny, tmp_path):
    failure = failed(request_for(tiny, tmp_path / "store", architecture="x86-64-v4"), Machine(V3))
    assert isinstance(failure.error, TargetMismatch)
    assert not (tmp_path / "store").exists()


def test_another_model_than_declared_is_refused(tiny, tmp_path):
    failure = failed(request_for(tiny, tmp_path, digest="0" * 64))
    assert isinstance(failure.error, InvalidModel)
    assert failure.stage == "source"
    assert model_digest(find_checkpoint(tiny)) in str(failure.error)


def test_limits_beyond_the_model_are_refused(tiny, tmp_path):
    failure = failed(request_for(tiny, tmp_path))
    assert isinstance(failure.error, InvalidRequest)
    assert failure.stage == "convert"
    assert "maxSeqLen 4096 is above the model's max_position_embeddings 512" in str(failure.error)


@pytest.mark.parametrize(
    ("raised", "error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left"), StoreUnavailable, r"is full: .* GB are free, .*"),
        (OSError(errno.EROFS, "Read-only", "/x"), StoreUnavailable, "cannot be used: /x"),
        (OSError(errno.EIO, "Input/output error"), StoreUnavailable, "be used: Input/output error"),
        (OSError(errno.ESTALE, "Stale file", "/x"), StoreUnavailable, "be used: /x: Stale file"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), OutOfMemory, "Cannot allocate memory"),
        (MemoryError("9 GB"), OutOfMemory, "9 GB"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: x"), OutOfMemory, "allocate"),
        (RuntimeError("CUDA out of memory. Tried"), GpuOutOfMemory, "CUDA out of memory"),
    ],
)
def test_trouble_of_the_surroundings_is_typed(tiny, tmp_path, monkeypatch, raised, error, message):
    def convert(*arguments):
        raise raised

    monkeypatch.setattr(convert_stage, "convert", convert)
    monkeypatch.setattr(convert_stage, "check_model", lambda *arguments: None)
    failure = failed(request_for(tiny, tmp_path))
    assert isinstance(failure.error, error)
    assert failure.stage == "convert"
    with pytest.raises(error, match=message):
        raise failure.error


def test_a_retry_takes_the_checkpoint_that_it_has_kept_already(tiny, tmp_path, monkeypatch):
    def killed(*arguments):
        raise OutOfMemory("while compiling")

    monkeypatch.setattr("nacelle_builder.stages.compile.compile_programs", killed)
    request = request_for(tiny, tmp_path, limits={"maxInputLen": 64, "maxSeqLen": 128})
    build = replace(build_of(request, Machine(V3)), keep_checkpoint=tmp_path / "kept")
    for _ in range(2):
        with pytest.raises(BuildFailed, match="while compiling"):
            run_build(build, lambda progress: None)
    (tmp_path / "kept" / "config.json").write_text("{}")
    with pytest.raises(BuildFailed, match="kept exists and is not an empty folder"):
        run_build(build, lambda progress: None)
    assert (tmp_path / "kept" / "config.json").read_text() == "{}"


def test_an_engine_that_is_being_deleted_is_waited_out(tiny, tmp_path):
    """The operator's sweeper takes the manifest first, and may take a while for the rest."""
    request = request_for(tiny, tmp_path, limits={"maxInputLen": 64, "maxSeqLen": 128})
    key = engine_key(model_digest(find_checkpoint(tiny)), request.recipe)
    place = tmp_path / "engines" / key
    (place / "rank0").mkdir(parents=True)
    (place / "rank0" / "weights.safetensors").touch()
    failure = failed(request, Machine(V3))
    assert isinstance(failure.error, StoreUnavailable) and failure.stage == "source"
    assert f"{place} has no manifest.json: it is being deleted" in str(failure)
    (place / "manifest.json").write_text("{")
    failure = failed(request, Machine(V3))
    assert isinstance(failure.error, CorruptBundle)


def test_a_store_that_is_no_folder_is_said(tiny, tmp_path):
    (tmp_path / "file").touch()
    failure = failed(request_for(tiny, tmp_path / "file"), Machine(V3))
    assert isinstance(failure.error, StoreUnavailable)
    assert "file cannot be used: " in str(failure) and "Not a directory" in str(failure)


def test_a_full_store_is_said_beside_a_model_with_a_broken_link(model, tmp_path, monkeypatch):
    def convert(*arguments):
        raise OSError(errno.ENOSPC, "No space left")

    (model / "old.safetensors").symlink_to("gone")
    monkeypatch.setattr(convert_stage, "convert", convert)
    request = request_for(model, tmp_path, limits={"maxInputLen": 64, "maxSeqLen": 128})
    with pytest.raises(StoreUnavailable, match="is full"):
        raise failed(request, Machine(V3)).error


@pytest.mark.parametrize("error", [None, InvalidModel("half of it")])
def test_a_model_that_changes_under_the_build_is_not_taken_for_the_old_one(
    model, tmp_path, monkeypatch, error
):
    def convert(*arguments):
        (model / "chat_template.jinja").write_text("another")
        if error is not None:
            raise error

    monkeypatch.setattr(convert_stage, "convert", convert)
    before = model_digest(find_checkpoint(model))
    request = request_for(model, tmp_path, limits={"maxInputLen": 64, "maxSeqLen": 128})
    build = replace(build_of(request, Machine(V3)), until="convert")
    with pytest.raises(BuildFailed) as info:
        run_build(build, lambda progress: None)
    assert isinstance(info.value.error, SourceUnavailable)
    assert f"changed while it was built: its digest was {before}, and is " in str(info.value)
    assert not (build.work / "convert.done.json").exists()


def run_job(environment, log):
    return subprocess.run(
        [*NACELLE, "--request-env", "--termination-log", str(log)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
def test_a_job_leaves_its_failure_for_the_operator(model, tmp_path):
    data = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(data[:-100])
    request = request_for(model, tmp_path, limits={"maxInputLen": 64, "maxSeqLen": 128})
    done = run_job(
        {REQUEST_VARIABLE: request.model_dump_json(by_alias=True)}, tmp_path / "result.json"
    )
    failure = json.loads((tmp_path / "result.json").read_text())["failure"]
    assert done.returncode == 65
    assert (failure["code"], failure["stage"]) == ("TensorInvalid", "convert")
    assert "model.safetensors is truncated" in failure["message"]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["stage"] for line in lines][-1] == "convert"


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "NACELLE_BUILD_REQUEST is not set"),
        ({REQUEST_VARIABLE: '{"modelName": 3}'}, "modelName"),
    ],
)
def test_a_job_without_a_good_request_says_so(tmp_path, monkeypatch, environment, message):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    log = tmp_path / "result.json"
    assert main(["build", "--request-env", "--termination-log", str(log)]) == 65
    failure = json.loads((tmp_path / "result.json").read_text())["failure"]
    assert failure["code"] == "InvalidRequest"
    assert message in failure["message"]


def test_the_lock_keeps_others_out_until_its_deadline(tmp_path):
    path = tmp_path / "k.lock"
    waited = []
    with (
        exclusive(path),
        pytest.raises(StoreUnavailable, match="another process has held"),
        exclusive(path, deadline=0, on_wait=lambda: waited.append(1)),
    ):
        raise AssertionError("the lock was given twice")
    assert waited == [1]
    assert not path.exists()
    with exclusive(path, deadline=0):
        pass


def test_only_finished_and_idle_work_is_swept(tiny, tmp_path):
    for name, key in (("done", "a" * 64), ("open", "b" * 64), ("busy", "a" * 64)):
        work = tmp_path / "work" / name
        work.mkdir(parents=True)
        marker = Marker(inputs="", facts={"engineKey": key})
        (work / "source.done.json").write_text(marker.model_dump_json())
    (tmp_path / "engines" / ("a" * 64)).mkdir(parents=True)
    with exclusive(tmp_path / "work" / "busy.lock"):
        sweep(tmp_path)
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["busy", "open"]


class Killed(BaseException):
    """The end of a process, at any file that it removes."""


@pytest.mark.parametrize("removed", range(6))
def test_what_a_killed_sweep_leaves_is_swept_by_the_next_one(tmp_path, monkeypatch, removed):
    work = tmp_path / "work" / "k"
    for name in ("checkpoint/rank0.safetensors", "rank0/kernels.so", "x", "y", "convert.done.json"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).touch()
    marker = Marker(inputs="", facts={"engineKey": "a" * 64})
    (work / "source.done.json").write_text(marker.model_dump_json())
    (tmp_path / "engines" / ("a" * 64)).mkdir(parents=True)
    unlink, left = os.unlink, [removed]

    def unlink_until_killed(path, **options):
        # The kernel frees a killed process's lock.
        if not str(path).endswith(".lock"):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
        unlink(path, **options)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os, "unlink", unlink_until_killed)
        sweep(tmp_path)
    sweep(tmp_path)
    assert not work.exists()


def test_work_is_kept_from_others_while_it_is_swept(tmp_path, monkeypatch):
    work = tmp_path / "work" / "k"
    work.mkdir(parents=True)
    marker = Marker(inputs="", facts={"engineKey": "a" * 64})
    (work / "source.done.json").write_text(marker.model_dump_json())
    (tmp_path / "engines" / ("a" * 64)).mkdir(parents=True)
    kept_out = []

    def begin(folder, **options):
        """Another attempt at the same request, begun at the worst moment."""
        with pytest.raises(StoreUnavailable), exclusive(work.with_name("k.lock"), deadline=0):
            raise AssertionError(f"{folder} is removed under an attempt at work")
        kept_out.append(folder)

    monkeypatch.setattr("nacelle_builder.work.shutil.rmtree", begin)
    sweep(tmp_path)
    assert kept_out == [work]


def test_digests_are_taken_once_a_file_version(model, tmp_path, monkeypatch):
    cache = tmp_path / "digests.json"
    file = model / "config.json"
    first = DigestCache(cache)(file)
    with monkeypatch.context() as patch:
        patch.setattr("nacelle_builder.source.digest.file_sha256", lambda path: "read again")
        assert DigestCache(cache)(file) == first
        os.utime(file)
        assert DigestCache(cache)(file) == "read again"
    cache.write_text('{"/x": [1')
    assert DigestCache(cache)(file) == first


@pytest.mark.parametrize("replaced", [True, False])
def test_another_model_of_the_same_size_and_time_is_another(model, tmp_path, replaced):
    """Both unpacked with one fixed time, and mounted in the same place."""
    cache = tmp_path / "digests.json"
    file = model / "config.json"
    os.utime(file, (0, 0))
    changed = file.stat().st_ctime_ns
    first = DigestCache(cache)(file)
    data = file.read_bytes().replace(b"silu", b"SILU")
    if replaced:
        file.unlink()
    file.write_bytes(data)
    os.utime(file, (0, 0))
    # A kernel's clock for files stands still for some milliseconds.
    while file.stat().st_ctime_ns == changed:
        os.utime(file, (0, 0))
    assert DigestCache(cache)(file) != first


def test_the_digest_covers_names_and_bytes_of_what_matters(model):
    before = model_digest(find_checkpoint(model))
    (model / "README.md").write_text("not part of it")
    assert model_digest(find_checkpoint(model)) == before
    (model / "chat_template.jinja").write_text("other")
    assert model_digest(find_checkpoint(model)) != before


@pytest.mark.parametrize(
    ("config", "generation", "token", "ids"),
    [
        (2, [2, 3], "<|end|>", (2, 3)),
        (None, None, "<|end|>", (2,)),
        (5, None, {"content": "<|begin|>"}, (1, 5)),
        ([7, 8], 9, None, (7, 8, 9)),
    ],
)
def test_every_end_token_is_collected(model, edit_config, config, generation, token, ids):
    edit_config(model, eos_token_id=config)
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": generation}))
    (model / "tokenizer_config.json").write_text(json.dumps({"eos_token": token}))
    assert eos_token_ids(find_checkpoint(model)) == ids


def test_a_model_that_never_ends_is_refused(model, edit_config):
    edit_config(model, eos_token_id=None)
    for name in ("generation_config.json", "tokenizer_config.json"):
        (model / name).unlink()
    with pytest.raises(InvalidModel, match="no answer would end"):
        eos_token_ids(find_checkpoint(model))
    edit_config(model, eos_token_id="</s>")
    with pytest.raises(InvalidModel, match="'</s>' is neither"):
        eos_token_ids(find_checkpoint(model))


def test_the_stages_stand_in_order(tiny, tmp_path):
    build = build_of(request_for(tiny, tmp_path))
    names = [stage.name for stage in stages_of(build)]
    assert names == ["source", "convert", "compile", "gate", "seal", "publish"]


COMPILING = """
import signal, sys
from pathlib import Path
from nacelle_builder.commands import build
from nacelle_builder.compile.cpu import toolchain
from nacelle_engine.arch import Architecture

signal.signal(signal.SIGTERM, build._end)
folder = Path(sys.argv[1])
toolchain.COMPILER = str(folder / "compiler")
toolchain.Toolchain(Architecture.X86_64_V3, folder).compile_kernels(folder / "k.so")
"""


@pytest.mark.parametrize(
    "work",
    ["sleep 600", "(trap '' TERM; exec sleep 600) & wait"],
    ids=["ends when asked", "leaves a child that does not"],
)
def test_a_build_that_is_ended_does_not_wait_for_its_compilers(tmp_path, work):
    compiler, begun = tmp_path / "compiler", tmp_path / "begun"
    compiler.write_text(f"#!/bin/sh\n: > {begun}\n{work}\n")
    compiler.chmod(0o755)
    process = subprocess.Popen([sys.executable, "-c", COMPILING, tmp_path])
    try:
        while not begun.exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        # Each compiler holds a pipe that is read to its end: none is left when this one has ended.
        assert process.wait(60) == 143
    finally:
        process.kill()
        process.wait()
