"""A tiny model of any family on an interpreted GPU."""

import families
from tiny_gpu import PER_TOKEN, Tiny

from nacelle_builder.convert.checkpoint import open_checkpoint
from nacelle_builder.gate.reference import Reference
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.program.signature import WEIGHTS


class TinyFamily(Tiny):
    """families.py's model, converted as a build does; `changes` make a program of another spec."""

    def __init__(self, monkeypatch, root, name, quantization=PER_TOKEN, recipe=None, **changes):
        folder, model, rank = families.converted(name, quantization, root)
        reference = Reference.load(folder)
        with open_checkpoint(rank / WEIGHTS) as weights:
            reference.take_weights(model.spec, model.sources, weights)
        spec = ModelSpec.model_validate(model.spec.model_dump() | changes)
        self._open(
            monkeypatch, rank, reference, spec, model.sources, quantization, **(recipe or {})
        )
