"""The compile stage: tactics, the pinned compiler, what is refused, what the output links to."""

import re
import subprocess
import sys

import pytest

from nacelle_builder.compile.cpu import kernel_objects
from nacelle_builder.compile.cpu import toolchain as toolchain_module
from nacelle_builder.compile.cpu.signature import signature_of
from nacelle_builder.compile.cpu.tactics import Timing, choose_tactics, decide, may_choose
from nacelle_builder.compile.cpu.toolchain import Toolchain
from nacelle_builder.compile.programs import compile_programs
from nacelle_engine.arch import Architecture
from nacelle_engine.errors import CompileFailed, InvalidRequest
from nacelle_engine.limits import Limits
from nacelle_engine.model.checkpoint import checkpoint_tensors
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.ops.kernels import FOLDER, sources
from nacelle_engine.precision import ComputeType, Determinism, Quantization
from nacelle_engine.recipe import Recipe

SPEC = ModelSpec(
    family="llama",
    vocab_size=96,
    hidden_size=64,
    intermediate_size=128,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    max_position_embeddings=512,
    norm_eps=1e-5,
    rope_theta=10000.0,
    inverse_frequencies=(1.0,) * 8,
    tied_embeddings=True,
)
LIMITS = Limits(max_batch_size=4, max_input_len=100, max_seq_len=128, max_num_tokens=64)
RECIPE = Recipe(architecture=Architecture.X86_64_V3, limits=LIMITS)


def timings(*pairs):
    return [
        Timing(linear="qkv", tokens=tokens, microseconds={"fused": fused, "aten": aten})
        for tokens, fused, aten in pairs
    ]


@pytest.mark.parametrize(
    ("measured", "tactic"),
    [
        (timings((1, 10, 50), (8, 20, 90)), (1, 0)),
        (timings((1, 10, 50), (8, 90, 20), (64, 900, 99)), (1, 0, 8, 1)),
        (timings((1, 50, 10), (8, 100, 99), (64, 900, 99)), (1, 1, 8, 0, 64, 1)),
        (timings((1, 114, 100)), (1, 0)),
        (timings((1, 116, 100)), (1, 1)),
    ],
)
def test_decide(measured, tactic):
    assert decide(measured) == tactic


@pytest.mark.parametrize(
    ("compute", "determinism", "free"),
    [
        (ComputeType.BFLOAT16, Determinism.FAST, True),
        (ComputeType.BFLOAT16, Determinism.BATCH_INVARIANT, False),
        (ComputeType.FLOAT32, Determinism.FAST, False),
    ],
)
def test_exact_builds_have_no_choice(tmp_path, compute, determinism, free):
    recipe = RECIPE.model_copy(
        update={"quantization": Quantization(compute_type=compute), "determinism": determinism}
    )
    assert may_choose(recipe) == free
    if not free:
        chosen = choose_tactics(SPEC, recipe, tmp_path / "never-opened").chosen
        assert set(chosen.values()) == {(1, 0)}


def test_the_signature_takes_every_tensor_of_the_checkpoint_once():
    signature = signature_of(SPEC, RECIPE)
    taken = [source for spec in signature.embed.weights for source in spec.sources]
    for number, _ in enumerate(signature.layers):
        for spec in signature.kinds[0].weights:
            taken += [source.format(layer=number) for source in spec.sources]
    head = [source for spec in signature.head.weights for source in spec.sources]
    assert head == ["transformer.ln_f.weight", "transformer.vocab_embedding.weight"]
    expected = {tensor.name for tensor in checkpoint_tensors(SPEC)}
    assert len(taken) == len(set(taken))
    assert set(taken) | set(head) == expected


@pytest.mark.parametrize(
    ("update", "message"),
    [
        (
            {"limits": Limits(max_input_len=100, max_seq_len=513)},
            "maxSeqLen 513 is above the model's max_position_embeddings 512",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(tmp_path, update, message):
    with pytest.raises(InvalidRequest, match=message):
        compile_programs(SPEC, RECIPE.model_copy(update=update), tmp_path, lambda *_: None)


def test_a_compiler_error_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_objects, "_FLAGS", ("-std=c++20", "-include", "absent.h"))
    with pytest.raises(CompileFailed, match=r"absent\.h"):
        Toolchain(Architecture.X86_64_V3, tmp_path).compile_kernels(tmp_path / "kernels.so")


def test_a_missing_compiler_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(toolchain_module, "COMPILER", "no-such-compiler")
    with pytest.raises(CompileFailed, match="no-such-compiler is not installed"):
        Toolchain(Architecture.X86_64_V3, tmp_path).compile_kernels(tmp_path / "kernels.so")


def needed(library):
    """The libraries that one names as its own needs."""
    text = subprocess.run(
        ["readelf", "-d", library], capture_output=True, text=True, check=True
    ).stdout
    return set(re.findall(r"NEEDED.*\[(.*)\]", text))


def functions_of_512_bits(library):
    """Its functions whose code touches a 512-bit register."""
    text = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", library], capture_output=True, text=True, check=True
    ).stdout
    parts = re.split(r"^[0-9a-f]+ <(.*)>:$", text, flags=re.MULTILINE)
    return {name for name, code in zip(parts[1::2], parts[2::2], strict=True) if "%zmm" in code}


@pytest.mark.slow
@pytest.mark.parametrize("level", [Architecture.X86_64_V3, Architecture.X86_64_V4])
def test_every_library_is_of_its_level_and_brings_no_openmp(tmp_path, level):
    recipe = RECIPE.model_copy(update={"architecture": level})
    compile_programs(SPEC, recipe, tmp_path / "rank0", lambda *_: None)
    kernels = tmp_path / "rank0" / "kernels.so"
    # At any level these are only called where there are tiles, and so 512-bit registers.
    wide = {
        name
        for name in functions_of_512_bits(kernels)
        if not any(tiled in name for tiled in ("pack_tokens", "dot_block", "transpose"))
    }
    assert bool(wide) == (level == Architecture.X86_64_V4)
    for library in (tmp_path / "rank0").glob("*.so"):
        names = needed(library)
        assert not any("gomp" in name or "omp" in name.lower() for name in names)
        if library != kernels:
            assert any(name.startswith("nacelle-kernels-") for name in names) or (
                library.name == "embed.so"
            )
        if level == Architecture.X86_64_V3 and library != kernels:
            assert not functions_of_512_bits(library)


@pytest.mark.slow
def test_objects_of_an_earlier_build_are_taken(tmp_path):
    kept = tmp_path / "kept"

    def build(name):
        work = tmp_path / name
        work.mkdir()
        Toolchain(RECIPE.architecture, work, kept=kept).compile_kernels(work / "kernels.so")
        inodes = {file.name: file.stat().st_ino for file in kept.iterdir()}
        return (work / "kernels.so").read_bytes(), inodes

    library, objects = build("first")
    assert len(objects) == len(sources())
    assert build("second") == (library, objects), "an object that is compiled is a new file"


def test_objects_are_made_for_every_level():
    assert set(kernel_objects.LEVELS) == {level for level in Architecture if level.is_cpu}


def test_there_is_something_to_make_objects_of(tmp_path):
    with pytest.raises(SystemExit, match=r"no \*\.cpp"):
        kernel_objects.make_all(tmp_path, tmp_path / "objects")


@pytest.mark.slow
def test_objects_made_beforehand_are_taken(tmp_path, monkeypatch):
    made, kept = tmp_path / "made", tmp_path / "kept"
    script = [sys.executable, kernel_objects.__file__, str(FOLDER), str(made)]
    subprocess.run(script, check=True)
    assert len(list(made.iterdir())) == len(sources()) * len(kernel_objects.LEVELS)
    monkeypatch.setenv("NACELLE_OBJECTS", str(made))
    for level in kernel_objects.LEVELS:
        work = tmp_path / level
        work.mkdir()
        Toolchain(Architecture(level), work, kept=kept).compile_kernels(work / "kernels.so")
    assert not kept.exists(), "nothing was compiled"
