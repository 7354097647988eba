"""`nacelle verify`: digests, expectations, and the result that an inspect Job leaves behind."""

import errno
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from nacelle_cli.main import main
from nacelle_engine.abi import ABI
from nacelle_engine.arch import Architecture
from nacelle_engine.bundle import list_files, read_bundle, write_manifest
from nacelle_engine.limits import Limits
from nacelle_engine.manifest import KvGroup, Manifest, Provenance, Target
from nacelle_engine.precision import Determinism, Quantization
from nacelle_engine.result import parse_result


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    root = tmp_path / "bundle"
    (root / "rank0").mkdir(parents=True)
    (root / "rank0" / "weights").write_bytes(b"weights")
    manifest = Manifest(
        key="a" * 64,
        target=Target(architecture=Architecture.X86_64_V3),
        abi=ABI,
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
    write_manifest(root, manifest)
    return root


def facts(root: Path) -> dict[str, Any]:
    return {
        "key": "a" * 64,
        "architecture": "x86-64-v3",
        "abi": ABI,
        "limits": Limits().model_dump(mode="json", by_alias=True),
        "digest": read_bundle(root).digest,
        "bytes": len(b"weights"),
    }


def verify(root: Path, result: Path, expected: Any) -> int:
    text = expected if isinstance(expected, str) else json.dumps(expected)
    options = ["--files-only", "--expect", text, "--result-file", str(result)]
    return main(["verify", str(root), *options])


def test_a_sound_bundle_leaves_what_it_is(bundle: Path, tmp_path: Path) -> None:
    assert verify(bundle, tmp_path / "result", facts(bundle)) == 0
    result = parse_result((tmp_path / "result").read_text())
    assert result and result.published
    assert result.published.engine_key == "a" * 64 and result.published.bytes == len(b"weights")


@pytest.mark.parametrize(
    ("name", "value", "code", "exit_code"),
    [
        ("architecture", "x86-64-v4", "TargetMismatch", 78),
        ("abi", "torch1", "AbiMismatch", 78),
        ("key", "c" * 64, "CorruptBundle", 79),
        ("digest", "c" * 64, "CorruptBundle", 79),
        ("bytes", 1, "CorruptBundle", 79),
        ("limits", {"maxBatchSize": 1}, "CorruptBundle", 79),
        ("colour", "red", "InvalidRequest", 65),
    ],
)
def test_what_is_not_as_expected_is_named(
    bundle: Path, tmp_path: Path, name: str, value: object, code: str, exit_code: int
) -> None:
    assert verify(bundle, tmp_path / "result", {**facts(bundle), name: value}) == exit_code
    result = parse_result((tmp_path / "result").read_text())
    assert result and result.failure and result.failure.code == code
    assert name in result.failure.message


def test_a_changed_file_is_found(bundle: Path, tmp_path: Path) -> None:
    (bundle / "rank0" / "weights").write_bytes(b"wEights")
    assert verify(bundle, tmp_path / "result", facts(bundle)) == 79
    result = parse_result((tmp_path / "result").read_text())
    assert result and result.failure and "rank0/weights" in result.failure.message


@pytest.mark.parametrize("text", ["{", "[]"])
def test_an_expectation_that_is_no_object_is_refused(
    bundle: Path, tmp_path: Path, text: str
) -> None:
    assert verify(bundle, tmp_path / "result", text) == 65


def test_a_file_that_cannot_be_read_is_named(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a disk does that fails: the read does not tell of which file."""

    class Bad(io.FileIO):
        def readinto(self, buffer: object) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    opened = Path.open

    def open_bad(path: Path, mode: str = "r", **options: Any) -> Any:
        return Bad(path) if path.name == "weights" else opened(path, mode, **options)

    monkeypatch.setattr(Path, "open", open_bad)
    assert verify(bundle, tmp_path / "result", facts(bundle)) == 75
    result = parse_result((tmp_path / "result").read_text())
    assert result and result.failure and result.failure.code == "StoreUnavailable"
    assert "rank0/weights cannot be read: Input/output error" in result.failure.message


def test_a_result_that_cannot_be_left_does_not_hide_what_was_found(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "gone" / "result"
    assert verify(bundle, nowhere, facts(bundle)) == 75
    assert f"--result-file {nowhere} cannot be written: No such file" in capsys.readouterr().err
    (bundle / "rank0" / "weights").write_bytes(b"wEights")
    assert verify(bundle, nowhere, facts(bundle)) == 79
    assert "rank0/weights does not match its digest" in capsys.readouterr().err
