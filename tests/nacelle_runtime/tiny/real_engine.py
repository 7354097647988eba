"""A real float32 engine of SmolLM2, built once and kept under ${NACELLE_CACHE}/tests."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from nacelle_builder.convert.checkpoint import open_checkpoint
from nacelle_builder.convert.convert import read_model
from nacelle_builder.gate.reference import Reference
from nacelle_builder.source.files import find_checkpoint

MODEL = "smollm2-135m-instruct"
BUILD = (
    *("--model-name", "smollm2", "--compute-type", "float32", "--samples", "4"),
    *("--on-failure", "Publish", "--max-batch-size", "16", "--max-input-len", "1024"),
    *("--max-seq-len", "2048", "--max-num-tokens", "2048"),
)


def cache():
    root = Path(os.environ.get("NACELLE_CACHE") or "~/.cache/nacelle").expanduser()
    return root / "tests"


def model_folder():
    """The checkpoint's folder, fetched when it is not there."""
    folder = cache() / MODEL
    if not folder.is_dir():
        _nacelle("model", "fetch", MODEL, str(folder))
    return folder


def float32_engine():
    """The engine's folder; the builder ends at once when it has built it before."""
    store = cache() / "float32"
    with tempfile.TemporaryDirectory() as folder:
        # Of this call alone: another process of tests may come for the engine at the same time.
        log = Path(folder) / "result.json"
        options = ("--store", str(store), *BUILD, "--termination-log", str(log))
        _nacelle("build", str(model_folder()), *options)
        return Path(json.loads(log.read_text())["published"]["path"])


def quantised_reference(engine):
    """transformers' model in float32 with the weights that the engine holds, dequantised."""
    model = read_model(find_checkpoint(model_folder()))
    reference = Reference.load(model_folder())
    with open_checkpoint(engine / "rank0" / "weights.safetensors") as converted:
        reference.take_weights(model.spec, model.sources, converted)
    return reference._model


def _nacelle(*arguments):
    subprocess.run([sys.executable, "-m", "nacelle_cli.main", *arguments], check=True, timeout=1800)
