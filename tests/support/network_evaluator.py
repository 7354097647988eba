"""Computes a TensorRT network's description in plain torch."""

import torch
import torch.nn.functional as F

from nacelle_engine.program.weights import DTYPES

_TWO = {
    "add": torch.add,
    "multiply": torch.mul,
    "divide": torch.div,
    "maximum": torch.maximum,
}
_ONE = {
    "sqrt": torch.sqrt,
    "absolute": torch.abs,
    "sigmoid": torch.sigmoid,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "mean": lambda x: x.mean(-1, keepdim=True),
    "largest": lambda x: x.amax(-1, keepdim=True),
}


def evaluate(network, tensors, *, wide=False, codes=True):
    """The output for tensors by name; vectors as the signature has them.

    wide: everything in float32, where the description says bfloat16; codes: E4M3 is rounded to.
    Types and shapes are checked against what the description says of every tensor.
    """
    known = {}
    for tensor in (*network.inputs, *network.weights):
        given = tensors[tensor.name]
        known[tensor.name] = given if given.dim() == 2 else given[None]
        assert known[tensor.name].dtype == DTYPES[tensor.dtype], tensor
    tokens = known[network.inputs[0].name].shape[0]
    for tensor in (*network.inputs, *network.weights):
        _check(known[tensor.name], tensor, tokens)
    if wide:
        known = {name: given.float() for name, given in known.items()}
    for node in network.nodes:
        out = _node(node, [known[name] for name in node.inputs], wide, codes)
        _check(out, node.out, tokens)
        assert wide or out.dtype == DTYPES[node.out.dtype], node
        known[node.out.name] = out
    return known[network.output]


def _check(found, tensor, tokens):
    rows = tokens if tensor.shape[0] == "T" else tensor.shape[0]
    assert tuple(found.shape) == (rows, tensor.shape[1]), tensor


def _node(node, inputs, wide, codes):
    dtype = torch.float32 if wide else DTYPES[node.out.dtype]
    if node.op == "scalar":
        return torch.full((1, 1), node.value, dtype=dtype)
    if node.op in ("cast", "dequantize"):
        return inputs[0].to(dtype)
    if node.op == "quantize":
        rounded = inputs[0].float().clamp(-448, 448).to(torch.float8_e4m3fn)
        return rounded.to(dtype) if codes else inputs[0]
    if node.op == "product":
        return (inputs[0].float() @ inputs[1].float().T).to(dtype)
    if node.op == "columns":
        return inputs[0][:, node.first : node.first + node.out.shape[1]]
    assert len({one.dtype for one in inputs}) == 1, node
    return (_TWO if len(inputs) == 2 else _ONE)[node.op](*inputs)
