"""Writes a Triton model repository that answers from a core's socket.

It stands for itself: the tokenizer is copied into it, so a server needs no bundle.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from nacelle_engine.bundle import Bundle
from nacelle_engine.errors import InvalidRequest
from nacelle_runtime.frontends.triton.config import ModelConfig
from nacelle_runtime.frontends.triton.contract import (
    ENSEMBLE,
    MODEL_VERSION,
    TEXT_INPUTS,
    TEXT_MODEL,
    TEXT_OUTPUTS,
    TOKEN_INPUTS,
    TOKEN_MODEL,
    TOKEN_OUTPUTS,
)
from nacelle_runtime.frontends.triton.parameters import CORE_WAIT_SECONDS, Parameters

TOKENIZER = "tokenizer"
_MODEL_FILE = '''"""{what}

The code stands in the package nacelle, the parameters in config.pbtxt.
"""

import sys

sys.path[:0] = {packages}

from nacelle_runtime.frontends.triton.{module} import {name} as TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


@dataclass(frozen=True)
class Repository:
    """What a repository is written from.

    `packages` are folders where the server's Python finds this package and what it needs: the
    Python backend of newer servers is deaf to PYTHONPATH. They go before the server's own, whose
    versions are not those of our locks. None when they are installed there.
    `core_wait_seconds` is how long loading a model waits for the core.
    """

    bundle: Bundle
    core_socket: str
    packages: tuple[str, ...] = ()
    exclude_input_in_output: bool = False
    core_wait_seconds: float = CORE_WAIT_SECONDS

    def write(self, folder: Path, *, replace: bool = False) -> None:
        """Write it; InvalidRequest when the folder holds something already.

        With `replace` models that were written there before, whole or in part, go first.
        """
        if replace:
            for name in (ENSEMBLE, TEXT_MODEL, TOKEN_MODEL):
                if (folder / name).is_dir():
                    shutil.rmtree(folder / name)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InvalidRequest(f"{folder} is not an empty folder: give another, or empty it")
        parameters = self._parameters().as_strings()
        # The ensemble is a text model of its own: Triton (2.51) tells the steps of a real ensemble
        # nothing of a cancelled request, which would run on to its end.
        for name in (ENSEMBLE, TEXT_MODEL):
            config = ModelConfig(name, TEXT_INPUTS, TEXT_OUTPUTS, parameters)
            texts = self._model(folder, config, "Text in, text out.", "text_model", "TextModel")
            shutil.copytree(self.bundle.tokenizer, texts / TOKENIZER)
        config = ModelConfig(TOKEN_MODEL, TOKEN_INPUTS, TOKEN_OUTPUTS, parameters)
        self._model(folder, config, "Token ids in, token ids out.", "token_model", "TokenModel")

    def _model(self, folder: Path, config: ModelConfig, what: str, module: str, name: str) -> Path:
        """Write one model; gives its version's folder."""
        version = folder / config.name / str(MODEL_VERSION)
        version.mkdir(parents=True)
        (folder / config.name / "config.pbtxt").write_text(config.text())
        made = _MODEL_FILE.format(what=what, packages=list(self.packages), module=module, name=name)
        (version / "model.py").write_text(made)
        return version

    def _parameters(self) -> Parameters:
        manifest = self.bundle.manifest
        return Parameters(
            core_socket=self.core_socket,
            engine_key=manifest.key,
            model_name=manifest.provenance.model_name,
            end_ids=tuple(manifest.eos_token_ids),
            exclude_input_in_output=self.exclude_input_in_output,
            core_wait_seconds=self.core_wait_seconds,
        )
