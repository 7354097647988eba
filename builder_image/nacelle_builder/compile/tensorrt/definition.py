"""A network's description turned into TensorRT's own, node by node, and its profiles likewise."""

from array import array
from collections.abc import Callable, Sequence
from typing import Any, Final

from nacelle_builder.compile.tensorrt.network import Network, Node, Rows, Tensor
from nacelle_builder.compile.tensorrt.profiles import Profile
from nacelle_engine.program.signature import DtypeName

_DTYPES: Final = {"bfloat16": "BF16", "float32": "FLOAT", "float8_e4m3fn": "FP8"}
_TWO: Final = {"add": "SUM", "multiply": "PROD", "divide": "DIV", "maximum": "MAX"}
_UNARY: Final = {"sqrt": "SQRT", "absolute": "ABS"}
_ACTIVATIONS: Final = {"sigmoid": "SIGMOID", "gelu_tanh": "GELU_TANH"}
_REDUCTIONS: Final = {"mean": "AVG", "largest": "MAX"}
# The last of two dimensions, as a mask.
_COLUMNS: Final = 1 << 1
# 1.0 in bfloat16, whose bits are the upper half of float32's.
_ONE_BF16: Final = 0x3F80

WeightTensor = Callable[["Definition", Tensor], Any]


def as_input(definition: "Definition", weight: Tensor) -> Any:
    """A weight that every call of the plan brings along: one plan serves all layers."""
    return definition.add_input(weight)


def add_profiles(builder: Any, config: Any, network: Network, profiles: Sequence[Profile]) -> None:
    """Have a plan of the network tuned for every range of tokens."""
    for profile in profiles:
        shapes = builder.create_optimization_profile()
        for tensor in network.inputs:
            sizes = (profile.first, profile.best, profile.last)
            shapes.set_shape(tensor.name, *((rows, tensor.shape[1]) for rows in sizes))
        config.add_optimization_profile(shapes)


class Definition:
    """TensorRT's definition of a network; it must live until the plan is built."""

    def __init__(
        self, trt: Any, definition: Any, network: Network, weight: WeightTensor = as_input
    ) -> None:
        """definition: an empty, strongly typed one; weight: how it comes by the weights."""
        self.trt, self.definition = trt, definition
        # Constants are read from our memory when the plan is built.
        self._held: list[array[Any]] = []
        self._types = {tensor.name: tensor.dtype for tensor in network.inputs + network.weights}
        self._types |= {node.out.name: node.out.dtype for node in network.nodes}
        self._tensors = {tensor.name: self.add_input(tensor) for tensor in network.inputs}
        self._tensors |= {tensor.name: weight(self, tensor) for tensor in network.weights}
        for node in network.nodes:
            self._tensors[node.out.name] = self._add(node)
        output = self._tensors[network.output]
        output.name = "output"
        definition.mark_output(output)

    def add_input(self, tensor: Tensor) -> Any:
        """An input of the plan."""
        return self.definition.add_input(tensor.name, self.dtype(tensor), _dims(tensor.shape))

    def dtype(self, tensor: Tensor) -> Any:
        """TensorRT's name of its type."""
        return getattr(self.trt.DataType, _DTYPES[tensor.dtype])

    def _add(self, node: Node) -> Any:
        layer = self._layer(node, [self._tensors[name] for name in node.inputs])
        # What an error names.
        layer.name = f"{node.out.name} {node.op}"
        return layer.get_output(0)

    def _layer(self, node: Node, inputs: list[Any]) -> Any:
        trt, add = self.trt, self.definition
        if node.op == "scalar":
            return self._constant("FLOAT", (1, 1), array("f", [node.value]))
        if node.op == "cast":
            return add.add_cast(*inputs, self.dtype(node.out))
        if node.op in _TWO:
            return add.add_elementwise(*inputs, getattr(trt.ElementWiseOperation, _TWO[node.op]))
        if node.op in _UNARY:
            return add.add_unary(*inputs, getattr(trt.UnaryOperation, _UNARY[node.op]))
        if node.op in _ACTIVATIONS:
            kind = getattr(trt.ActivationType, _ACTIVATIONS[node.op])
            return add.add_activation(*inputs, kind)
        if node.op in _REDUCTIONS:
            kind = getattr(trt.ReduceOperation, _REDUCTIONS[node.op])
            return add.add_reduce(*inputs, kind, _COLUMNS, True)
        if node.op == "product":
            plain, turned = trt.MatrixOperation.NONE, trt.MatrixOperation.TRANSPOSE
            return add.add_matrix_multiply(inputs[0], plain, inputs[1], turned)
        if node.op == "columns":
            return self._columns(node, *inputs)
        if node.op == "quantize":
            one = self._one(self._types[node.inputs[0]])
            return add.add_quantize(*inputs, one, self.dtype(node.out))
        return add.add_dequantize(*inputs, self._one(node.out.dtype), self.dtype(node.out))

    def _columns(self, node: Node, x: Any) -> Any:
        """A slice of as many rows as x has in this call."""
        add, count = self.definition, node.out.shape[1]
        shape = add.add_shape(x).get_output(0)
        rows = add.add_slice(shape, (0,), (1,), (1,)).get_output(0)
        columns = self._constant("INT64", (1,), array("q", [count])).get_output(0)
        size = add.add_concatenation([rows, columns]).get_output(0)
        layer = add.add_slice(x, (0, node.first), (1, count), (1, 1))
        layer.set_input(2, size)
        return layer

    def _one(self, dtype: DtypeName) -> Any:
        """The scale 1 in the type of the wider side."""
        wide = dtype == "float32"
        values = array("f", [1.0]) if wide else array("H", [_ONE_BF16])
        return self._constant(_DTYPES[dtype], (), values).get_output(0)

    def _constant(self, dtype: str, shape: tuple[int, ...], values: "array[Any]") -> Any:
        self._held.append(values)
        address, count = values.buffer_info()
        weights = self.trt.Weights(getattr(self.trt.DataType, dtype), address, count)
        return self.definition.add_constant(shape, weights)


def _dims(shape: tuple[Rows, int]) -> tuple[int, ...]:
    return tuple(-1 if size == "T" else size for size in shape)
