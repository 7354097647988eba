"""The static scales that a ready-made checkpoint brings itself."""

from nacelle_builder.calibrate.scales import KvScale, Scales
from nacelle_builder.convert.convert import Model
from nacelle_builder.source.weights import open_weights
from nacelle_engine.model.checkpoint import checkpoint_tensors
from nacelle_engine.model.scales import sharing


def stored_scales(model: Model) -> Scales:
    """Every static scale of the checkpoint; weights that are joined, or read the same input, get
    the largest of theirs."""
    inputs: dict[str, float] = {}
    stored = model.stored
    with open_weights(model.index, stored) as source:
        if stored is not None and stored.static_inputs:
            for tensor in checkpoint_tensors(model.spec):
                if tensor.linear:
                    names = model.sources[tensor.name].names
                    inputs[tensor.name] = max(source.input_scale(name) for name in names)
        kv = tuple(KvScale(k=source.scalar(k), v=source.scalar(v)) for k, v in model.kv_scales)
    largest = {name: max(inputs[other] for other in sharing(name)) for name in inputs}
    return Scales(inputs=largest, kv=kv)
