"""A tiny model of any family on an interpreted GPU."""

import shutil

import families
from tiny_gpu import PER_TOKEN, Tiny

from nacelle_builder.convert.checkpoint import RANK0, open_checkpoint
from nacelle_builder.convert.convert import convert, read_model
from nacelle_builder.gate.reference import Reference
from nacelle_builder.source.files import find_checkpoint
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.program.signature import WEIGHTS


class TinyFamily(Tiny):
    """families.py's model, converted as a build does; `changes` make a program of another spec."""

    def __init__(self, monkeypatch, root, name, quantization=PER_TOKEN, recipe=None, **changes):
        folder = families.save(name, root / "model")
        model = read_model(find_checkpoint(folder))
        convert(model, quantization, root / "out", lambda *_: None)
        rank = root / "rank0"
        rank.mkdir()
        shutil.copyfile(root / "out" / RANK0, rank / WEIGHTS)
        reference = Reference.load(folder)
        with open_checkpoint(rank / WEIGHTS) as weights:
            reference.take_weights(model.spec, model.sources, weights)
        spec = ModelSpec.model_validate(model.spec.model_dump() | changes)
        self._open(
            monkeypatch, rank, reference, spec, model.sources, quantization, **(recipe or {})
        )
