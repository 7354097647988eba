"""A whole build with real compiled programs: published, resumed, raced, killed, and refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import ready_made
import torch
from safetensors.torch import load_file, save_file

from nacelle_builder.build import Build, work_folder
from nacelle_builder.compile.cpu import toolchain
from nacelle_builder.run_build import BuildFailed, run_build
from nacelle_builder.settings import HubAccess
from nacelle_engine.build_memory import read_build_memory
from nacelle_engine.bundle import read_bundle, verify_files
from nacelle_engine.errors import AccuracyFailed, FidelityFailed
from nacelle_engine.ops.kernels import headers, sources
from nacelle_engine.precision import Quantization
from nacelle_engine.program.program import open_program
from nacelle_engine.recipe import Recipe
from nacelle_engine.request import AccuracyBounds, BuildRequest, FolderSource

pytestmark = pytest.mark.slow

RECIPE = Recipe(
    architecture="x86-64-v3",
    limits={"maxBatchSize": 8, "maxInputLen": 100, "maxSeqLen": 256, "maxNumTokens": 128},
)
LOOSE = AccuracyBounds(
    max_kl_divergence="5", min_top_one_agreement_percent=0, max_perplexity_increase_percent=900
)
NEVER = LOOSE.model_copy(update={"max_kl_divergence": "0"})
NACELLE = [sys.executable, "-m", "nacelle_cli.main", "build", "--request-env"]


def request_for(tiny, store, bounds=LOOSE):
    return BuildRequest(
        model_name="tiny",
        folder=FolderSource(path=str(tiny)),
        recipe=RECIPE,
        accuracy=bounds,
        store=str(store),
    )


def build_of(request, **options):
    return Build(request=request, work=work_folder(request), access=HubAccess(), **options)


def build(request, said=None, **options):
    tell = (lambda progress: None) if said is None else said.append
    return run_build(build_of(request, **options), tell)


@pytest.fixture(scope="module")
def stopped_at_gate(tiny, tmp_path_factory):
    """A store whose build is compiled and failed the gate, since no engine has no divergence."""
    store = tmp_path_factory.mktemp("stopped") / "store"
    with pytest.raises(BuildFailed) as failed:
        build(request_for(tiny, store, NEVER))
    assert isinstance(failed.value.error, AccuracyFailed)
    assert failed.value.stage == "gate"
    return store


@pytest.fixture
def store(stopped_at_gate, tmp_path):
    shutil.copytree(stopped_at_gate, tmp_path / "store")
    assert not (tmp_path / "store" / "engines").exists()
    return tmp_path / "store"


def job(request, tmp_path, name="job"):
    """The Job's process: the request in its environment, its result in a file."""
    log = tmp_path / f"{name}.json"
    process = subprocess.Popen(
        [*NACELLE, "--termination-log", str(log)],
        env={**os.environ, "NACELLE_BUILD_REQUEST": request.model_dump_json(by_alias=True)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return process, log


def wait_for_stage(process, stage):
    for line in process.stdout:
        if line.startswith("{") and json.loads(line)["stage"] == stage:
            return
    raise AssertionError(f"the build ended before {stage}: {process.stderr.read()}")


def test_a_retry_goes_on_at_the_gate_and_publishes_a_whole_bundle(tiny, store):
    said = []
    published = build(request_for(tiny, store), said)
    assert [p.stage for p in said if p.message == "done by an earlier attempt"] == [
        "convert",
        "compile",
    ]
    bundle = read_bundle(Path(published.path))
    verify_files(bundle)
    assert (bundle.digest, bundle.bytes) == (published.digest, published.bytes)
    assert Path(published.path) == store / "engines" / bundle.manifest.key
    assert bundle.manifest.eos_token_ids == (2, 3)
    assert bundle.manifest.accuracy == published.accuracy
    assert {p.name for p in bundle.tokenizer.iterdir()} == {
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "generation_config.json",
    }
    config = json.loads((bundle.root / "config.json").read_text())
    assert set(config) == {"version", "pretrained_config", "build_config"}
    assert config["build_config"]["max_num_tokens"] == 128
    assert open_program(bundle.rank()).signature.vocab_size == bundle.manifest.vocab_size
    held = read_build_memory(bundle.root)
    # This very process built it.
    assert held is not None and 100 < held.peak_mib < 100_000
    assert [path.name for path in (store / "work").iterdir()] == ["digests.json"]


def test_an_engine_that_exists_ends_at_once_but_must_meet_the_bounds(tiny, store):
    first = build(request_for(tiny, store))
    said = []
    second = build(request_for(tiny, store), said)
    assert second.already_existed
    assert (second.engine_key, second.digest) == (first.engine_key, first.digest)
    assert {p.stage for p in said} == {"source"}
    with pytest.raises(BuildFailed, match=r"above accuracy\.maxKLDivergence 0"):
        build(request_for(tiny, store, NEVER))
    kept = NEVER.model_copy(update={"on_failure": "Publish"})
    assert build(request_for(tiny, store, kept)).already_existed


def test_two_attempts_at_once_both_succeed(tiny, store, tmp_path):
    jobs = [job(request_for(tiny, store), tmp_path, name) for name in ("one", "two")]
    results = []
    for process, log in jobs:
        process.communicate(timeout=300)
        assert process.returncode == 0
        results.append(json.loads(log.read_text())["published"])
    assert sorted(result["alreadyExisted"] for result in results) == [False, True]
    assert results[0]["digest"] == results[1]["digest"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_killed_build_leaves_no_engine_and_its_retry_succeeds(
    tiny, store, tmp_path, number, code
):
    process, _ = job(request_for(tiny, store), tmp_path)
    wait_for_stage(process, "gate")
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == code
    assert not (store / "engines").exists()
    said = []
    verify_files(read_bundle(Path(build(request_for(tiny, store), said).path)))
    assert "compile" in [p.stage for p in said if p.message == "done by an earlier attempt"]


def rank0(store):
    return next((store / "work").glob("*/rank0"))


def stopped(tiny, store):
    with pytest.raises(BuildFailed) as failed:
        build(request_for(tiny, store))
    assert not (store / "engines").exists()
    assert failed.value.stage == "gate"
    return failed.value.error


def test_a_planted_wrong_scale_is_stopped(tiny, store):
    weights = rank0(store) / "weights.safetensors"
    tensors = load_file(weights)
    name = "transformer.layers.1.mlp.proj"
    tensors[f"{name}.per_channel_scale"][7] *= 1.25
    weights.unlink()
    save_file(tensors, weights)
    error = stopped(tiny, store)
    assert isinstance(error, FidelityFailed)
    assert f"{name}.weight: output channel 7" in str(error)


def test_a_planted_wrong_rope_is_stopped(tiny, store):
    programs = rank0(store) / "programs.json"
    signature = json.loads(programs.read_text())
    signature["inverseFrequencies"] = [
        [1.5 * f for f in group] for group in signature["inverseFrequencies"]
    ]
    programs.write_text(json.dumps(signature))
    error = stopped(tiny, store)
    assert isinstance(error, FidelityFailed)
    assert "prefill in one step" in str(error)


SILU = "exp(zero() - exponent<A>(x))"


def compile_wrong_silu(library, folder):
    """kernels.so whose activation is x / (1 + exp(+x)), under the right one's soname."""
    ops, planted = sources()[0].parent, 0
    for file in (*headers(), *sources()):
        text = file.read_text()
        planted += text.count(SILU)
        (folder / file.relative_to(ops)).write_text(text.replace(SILU, "exp(exponent<A>(x))"))
    assert planted == 1
    right = toolchain.Toolchain(RECIPE.architecture, folder).soname
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toolchain, "sources", lambda: sorted(folder.glob("*.cpp")))
        patch.setattr(toolchain.Toolchain, "soname", right)
        toolchain.Toolchain(RECIPE.architecture, folder).compile_kernels(library)


def test_a_planted_wrong_kernel_is_stopped(tiny, store, tmp_path):
    library = rank0(store) / "kernels.so"
    before = library.read_bytes()
    (tmp_path / "ops").mkdir()
    compile_wrong_silu(library, tmp_path / "ops")
    assert library.read_bytes() != before
    # A process of its own: this one has the right kernels loaded under the same name.
    process, log = job(request_for(tiny, store), tmp_path)
    process.communicate(timeout=300)
    failure = json.loads(log.read_text())["failure"]
    assert (process.returncode, failure["code"], failure["stage"]) == (65, "FidelityFailed", "gate")
    assert "prefill in one step" in failure["message"]
    assert "a kernel computes something else" in failure["message"]
    assert not (store / "engines").exists()


def test_a_ready_made_fp8_checkpoint_becomes_an_engine(model, tmp_path):
    ready_made.compressed(model)
    source = load_file(model / "model.safetensors")
    recipe = RECIPE.model_copy(update={"quantization": Quantization(compute_type="float32")})
    request = request_for(model, tmp_path / "store").model_copy(update={"recipe": recipe})
    published = build(request)
    # The original is the dequantised checkpoint itself, so nothing but float32's order is lost.
    assert float(published.accuracy.mean_kl_divergence) < 1e-5
    weights = load_file(Path(published.path) / "rank0" / "weights.safetensors")
    ours = weights["transformer.layers.1.mlp.proj.weight"]
    theirs = source["model.layers.1.mlp.down_proj.weight"]
    assert torch.equal(ours.view(torch.uint8), theirs.view(torch.uint8))


def test_the_checkpoint_can_be_kept(tiny, store, tmp_path):
    said = []
    build(request_for(tiny, store), said, keep_checkpoint=tmp_path / "kept")
    assert "compile" in [p.stage for p in said if p.message == "done by an earlier attempt"]
    config = json.loads((tmp_path / "kept" / "config.json").read_text())
    assert config["architecture"] == "LlamaForCausalLM"
    tensors = load_file(tmp_path / "kept" / "rank0.safetensors")
    assert tensors["transformer.layers.0.mlp.fc.weight"].dtype == torch.float8_e4m3fn
