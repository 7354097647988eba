"""A bundle: sealed by rename, opened only when whole and in its place."""

import hashlib
import time
from contextlib import nullcontext

import pytest

from nacelle_engine import bundle as bundle_module
from nacelle_engine.abi import ABI
from nacelle_engine.arch import Architecture
from nacelle_engine.bundle import (
    check_target,
    list_files,
    publish,
    read_bundle,
    verify_files,
    write_manifest,
)
from nacelle_engine.errors import AbiMismatch, CorruptBundle, TargetMismatch
from nacelle_engine.limits import Limits
from nacelle_engine.machine import Gpu, Machine
from nacelle_engine.manifest import KvGroup, Manifest, Provenance, Target
from nacelle_engine.precision import Determinism, Quantization

V3 = Machine(frozenset(["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"]))
H100 = Gpu((9, 0), "NVIDIA-H100-80GB-HBM3", 132, 80 << 30)


def seal(root, architecture=Architecture.X86_64_V3, abi=ABI, **target):
    (root / "rank0").mkdir(parents=True)
    (root / "rank0" / "weights.safetensors").write_bytes(b"weights")
    (root / "config.json").write_text("{}")
    manifest = Manifest(
        key="a" * 64,
        target=Target(architecture=architecture, **target),
        abi=abi,
        limits=Limits(),
        quantization=Quantization(),
        determinism=Determinism.FAST,
        numerics=(),
        vocab_size=8,
        hidden_size=4,
        kv_groups=(KvGroup(layers=1, kv_heads=1, head_dim=4),),
        eos_token_ids=(1,),
        accuracy=None,
        provenance=Provenance(
            model_name="m",
            source={"path": "p"},
            model_digest="b" * 64,
            builder_version="0",
            built_at="2026-01-01T00:00:00Z",
        ),
        files=list_files(root),
    )
    return write_manifest(root, manifest)


def test_a_sealed_bundle_reads_back_with_its_digest(tmp_path):
    digest = seal(tmp_path / "b")
    bundle = read_bundle(tmp_path / "b")
    verify_files(bundle)
    assert bundle.digest == digest
    assert digest == hashlib.sha256((tmp_path / "b" / "manifest.json").read_bytes()).hexdigest()
    assert bundle.bytes == len(b"weights") + len("{}")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: (r / "config.json").unlink(), "config.json is missing"),
        (lambda r: (r / "extra").write_text(""), "extra is not in the manifest"),
        (lambda r: (r / "config.json").write_text("{"), "has 1 bytes, the manifest says 2"),
        (lambda r: (r / "config.json").write_text("[]"), "does not match its digest"),
    ],
)
def test_damage_is_named(tmp_path, damage, message):
    seal(tmp_path)
    damage(tmp_path)
    with pytest.raises(CorruptBundle, match=message):
        verify_files(read_bundle(tmp_path))


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 16, 21])
def test_a_files_digest_is_its_own_or_that_of_its_pieces(tmp_path, monkeypatch, size):
    monkeypatch.setattr(bundle_module, "PIECE_BYTES", 8)
    monkeypatch.setattr(bundle_module, "_READ_BYTES", 3)
    data = bytes(range(size))
    (tmp_path / "f").write_bytes(data)
    pieces = [hashlib.sha256(data[at : at + 8]) for at in range(0, max(size, 1), 8)]
    whole = hashlib.sha256(b"".join(one.digest() for one in pieces))
    wanted = (pieces[0] if size <= 8 else whole).hexdigest()
    assert bundle_module.file_digests([tmp_path / "f"] * 2) == [wanted] * 2


def test_a_folder_without_manifest_is_no_bundle(tmp_path):
    with pytest.raises(CorruptBundle, match=r"manifest\.json cannot be read"):
        read_bundle(tmp_path)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../b", "./a"])
def test_a_manifest_cannot_reach_outside(tmp_path, path):
    seal(tmp_path)
    file = tmp_path / "manifest.json"
    file.write_text(file.read_text().replace('"config.json"', f'"{path}"'))
    with pytest.raises(CorruptBundle, match="files"):
        read_bundle(tmp_path)


def test_publishing_twice_keeps_the_first(tmp_path):
    for name in ("one", "two"):
        seal(tmp_path / name)
    (tmp_path / "one" / "mark").write_text("first")
    destination = tmp_path / "engines" / "key"
    assert publish(tmp_path / "one", destination)
    assert not publish(tmp_path / "two", destination)
    assert (destination / "mark").read_text() == "first"
    assert not (tmp_path / "two").exists()


def test_the_target_and_abi_are_checked(tmp_path):
    seal(tmp_path / "a", architecture=Architecture.X86_64_V4)
    with pytest.raises(TargetMismatch, match=r"x86-64-v4; this CPU lacks avx512bw"):
        check_target(read_bundle(tmp_path / "a"), V3)
    seal(tmp_path / "b", abi="torch1.0-triton1.0-ops1")
    with pytest.raises(AbiMismatch, match=r"torch1\.0-triton1\.0-ops1"):
        check_target(read_bundle(tmp_path / "b"), V3)
    seal(tmp_path / "c")
    check_target(read_bundle(tmp_path / "c"), V3)


@pytest.mark.parametrize(
    ("architecture", "target", "gpu", "message"),
    [
        ("sm_90", {"sm_count": 114}, H100, None),
        ("sm_90", {"gpu_product": H100.product, "sm_count": 132}, H100, None),
        ("sm_90", {}, None, "compiled for sm_90; this machine has no GPU"),
        ("sm_100", {}, H100, r"for sm_100; this machine's GPU is NVIDIA-H100-80GB-HBM3 \(sm_90, "),
        (
            "sm_90",
            {"gpu_product": "NVIDIA-H20", "sm_count": 78},
            H100,
            r"for NVIDIA-H20 \(sm_90, 78 SMs\); this machine's GPU is NVIDIA-H100-80GB-HBM3",
        ),
        ("sm_90", {"gpu_product": H100.product, "sm_count": 114}, H100, r"132 SMs\)$"),
    ],
)
def test_a_gpu_bundle_is_held_against_the_gpu(tmp_path, architecture, target, gpu, message):
    seal(tmp_path, architecture=Architecture(architecture), **target)
    context = pytest.raises(TargetMismatch, match=message) if message else nullcontext()
    with context:
        check_target(read_bundle(tmp_path), Machine(frozenset(), gpu))


def test_an_error_ends_the_hashing_of_all_files(tmp_path, monkeypatch):
    """So does the process's end, which comes as an exception too."""
    looked = []

    def piece(path, start):
        looked.append(path)
        time.sleep(0.05)
        raise SystemExit(143)

    monkeypatch.setattr(bundle_module, "_piece", piece)
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        bundle_module.file_digests([tmp_path / "file"] * 10_000)
    assert len(looked) < 10_000
