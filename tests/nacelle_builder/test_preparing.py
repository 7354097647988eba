"""A build that ends early, without the GPU of its target, and the one that goes on there."""

import json
from dataclasses import replace
from importlib.metadata import version

import page_bundles
import pytest

from nacelle_builder.build import Build, work_folder
from nacelle_builder.pipeline import Pipeline, Stage
from nacelle_builder.run_build import BuildFailed, run_build
from nacelle_builder.settings import HubAccess
from nacelle_builder.source.digest import DigestCache, model_digest
from nacelle_builder.source.files import find_checkpoint
from nacelle_builder.stages.list import CONVERT, SOURCE
from nacelle_builder.work import sweep
from nacelle_cli.main import main
from nacelle_engine.bundle import read_bundle, write_manifest
from nacelle_engine.canonical import digest
from nacelle_engine.errors import UnsupportedModel
from nacelle_engine.machine import Gpu, Machine
from nacelle_engine.recipe import Recipe, engine_key
from nacelle_engine.request import BuildRequest, FolderSource
from nacelle_engine.result import Prepared, Published, parse_result

H200 = Gpu((9, 0), "NVIDIA-H200", 132, 140 << 30)
H100_PCIE = Gpu((9, 0), "NVIDIA-H100-PCIe", 114, 80 << 30)
RECIPE = Recipe(
    architecture="sm_90",
    limits={"maxBatchSize": 8, "maxInputLen": 100, "maxSeqLen": 256, "maxNumTokens": 128},
)


def preparing(folder, store, until="convert", recipe=RECIPE):
    source = FolderSource(path=str(folder))
    request = BuildRequest(model_name="m", folder=source, recipe=recipe, store=str(store))
    machine = Machine(cpu_flags=frozenset())
    work = work_folder(request)
    return Build(request=request, work=work, access=HubAccess(), until=until, machine=machine)


def go_on(build, gpu):
    """The same build on a GPU, and what it says, until it would compile."""
    said = []
    end = Published(engine_key="0" * 64, path="p", digest="0" * 64, bytes=1, abi="a")
    keys = []

    def compile(build, facts, report):
        keys.append(facts.engine_key)
        return facts.model_copy(update={"published": end})

    at_gpu = replace(build, until="", machine=Machine(frozenset(), gpu))
    basis = digest([build.work.name, version("nacelle")])
    Pipeline((SOURCE, CONVERT, Stage("compile", 64, compile)), said.append).run(at_gpu, basis)
    return keys[0], [p.stage for p in said if p.message == "done by an earlier attempt"]


@pytest.mark.parametrize("gpu", [H200, H100_PCIE])
def test_what_was_prepared_is_gone_on_from_at_any_gpu(tiny, tmp_path, gpu):
    build, said = preparing(tiny, tmp_path), []
    assert run_build(build, said.append).until == "convert"
    assert [p.percent for p in said][-1] < 20 and {p.stage for p in said} == {"source", "convert"}
    sweep(tmp_path)
    key, done = go_on(build, gpu)
    assert done == ["convert"]
    content = model_digest(find_checkpoint(tiny), DigestCache(tmp_path / "d.json"))
    assert key == engine_key(content, RECIPE, calibration_digest="", sm_count=gpu.sm_count)


@pytest.mark.parametrize(("sm_count", "is_found"), [(132, True), (114, False)])
def test_an_engine_of_the_same_content_is_found_without_its_gpu(tiny, tmp_path, sm_count, is_found):
    build = preparing(tiny, tmp_path, recipe=page_bundles.GPU)
    content = model_digest(find_checkpoint(tiny), DigestCache(tmp_path / "d.json"))
    # The bundle is one of a GPU with 132 multiprocessors, whatever its folder is called.
    key = engine_key(content, page_bundles.GPU, sm_count=sm_count)
    root = page_bundles.gpu_bundle(build.engine(key))
    write_manifest(root, read_bundle(root).manifest.model_copy(update={"key": key}))
    (build.store / "engines" / "no-bundle").mkdir()
    made = run_build(build, lambda progress: None)
    assert isinstance(made, Published) is is_found
    if is_found:
        assert (made.engine_key, made.already_existed) == (key, True)
        assert not build.work.exists()


def test_another_model_is_prepared_anew(model, tmp_path):
    build = preparing(model, tmp_path)
    run_build(build, lambda progress: None)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-4}))
    assert go_on(build, H200)[1] == []


def test_it_may_end_after_its_source(tiny, tmp_path):
    build, said = preparing(tiny, tmp_path, "source"), []
    assert run_build(build, said.append).until == "source"
    assert {p.stage for p in said} == {"source"}


def test_errors_of_the_model_are_met_without_the_gpu(model, tmp_path):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "architectures": ["X"]}))
    with pytest.raises(BuildFailed) as failed:
        run_build(preparing(model, tmp_path), lambda progress: None)
    assert isinstance(failed.value.error, UnsupportedModel)


def test_the_command_leaves_a_result_of_its_own(tiny, tmp_path, monkeypatch, capsys):
    request = preparing(tiny, tmp_path).request
    monkeypatch.setenv("NACELLE_BUILD_REQUEST", request.model_dump_json(by_alias=True))
    log = tmp_path / "log"
    flags = ["--request-env", "--until", "convert", "--termination-log", str(log)]
    assert main(["build", *flags]) == 0
    result = parse_result(log.read_text())
    assert result and result.prepared == Prepared(
        until="convert", stage_seconds=result.prepared.stage_seconds
    )
    assert result.published is None and result.prepared.stage_seconds.keys() == {
        "source",
        "convert",
    }


def test_a_checkpoint_to_keep_needs_the_whole_build(tiny, tmp_path, capsys):
    flags = ["--until", "convert", "--keep-checkpoint", str(tmp_path / "kept")]
    assert main(["build", str(tiny), "--store", str(tmp_path / "s"), *flags]) == 65
    assert "--keep-checkpoint needs the whole build: leave --until out" in capsys.readouterr().err
