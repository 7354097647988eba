"""A TensorRT network as data: what is computed, tensor by tensor, without TensorRT or a GPU.

Every tensor has a type of its own, and nothing changes it but `cast`, `quantize` and `dequantize`:
the networks are strongly typed. Tensors have two dimensions; one of size 1 is spread over the other
operand's. A step's tensors have "T" rows (its tokens), weights have none that vary.
"""

from typing import Literal

from nacelle_engine.frozen import Frozen
from nacelle_engine.program.signature import DtypeName

# scalar      value, [1, 1]
# cast        x in another type
# add, multiply, divide, maximum      of two, element by element
# sqrt, absolute, sigmoid, gelu_tanh  of one, element by element
# mean, largest                       over the last dimension, which becomes 1
# quantize    x rounded to E4M3, beyond +-448 to that number; the scale is 1
# dequantize  E4M3 in a wider type; the scale is 1
# product     out[t, n] = sum_k x[t, k] weight[n, k]
# columns     the columns from `first` on, as many as `out` has
Op = Literal[
    "scalar",
    "cast",
    "add",
    "multiply",
    "divide",
    "maximum",
    "sqrt",
    "absolute",
    "sigmoid",
    "gelu_tanh",
    "mean",
    "largest",
    "quantize",
    "dequantize",
    "product",
    "columns",
]
Rows = int | Literal["T"]
# entry: the norm before attention and the projection to queries, keys and values.
# exit: from the attention's output to the residual stream that the next layer takes.
NetworkName = Literal["entry", "exit"]


class Tensor(Frozen):
    """A tensor of a network."""

    name: str
    dtype: DtypeName
    shape: tuple[Rows, int]


class Node(Frozen):
    """One operation and the tensor that it gives."""

    op: Op
    out: Tensor
    inputs: tuple[str, ...] = ()
    value: float = 0.0
    first: int = 0


class Network(Frozen):
    """One plan's network.

    inputs   of the step, T rows each
    weights  of the layer, named as the program's signature names them; a vector is one row
    output   the name of the node's tensor that the step takes on
    """

    name: NetworkName
    inputs: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    output: str

    @property
    def result(self) -> Tensor:
        """The output's tensor."""
        return next(node.out for node in self.nodes if node.out.name == self.output)


def listing(network: Network) -> str:
    """The network for people, a line a tensor."""
    lines = [f"network {network.name}"]
    lines += [f"  {_tensor(tensor)}" for tensor in network.inputs]
    lines += [f"  {_tensor(tensor)} weight" for tensor in network.weights]
    lines += [f"  {_tensor(node.out)} = {_call(node)}" for node in network.nodes]
    return "\n".join([*lines, f"  -> {network.output}"])


def _tensor(tensor: Tensor) -> str:
    rows, columns = tensor.shape
    return f"{tensor.name} {tensor.dtype} [{rows}, {columns}]"


def _call(node: Node) -> str:
    arguments = list(node.inputs)
    if node.op == "scalar":
        arguments.append(f"{node.value:g}")
    if node.op == "columns":
        arguments.append(f"from {node.first}")
    return f"{node.op}({', '.join(arguments)})"
