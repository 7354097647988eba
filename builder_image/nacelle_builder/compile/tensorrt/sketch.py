"""Writes a network down node by node; shapes and types follow from the operands."""

from nacelle_builder.compile.tensorrt.network import Network, NetworkName, Node, Op, Rows, Tensor
from nacelle_engine.program.signature import DtypeName, WeightSpec

_SIDE = {"float8_e4m3fn"}


class Sketch:
    """A network in the making. Operands that do not fit each other are a bug of ours."""

    def __init__(self, weights: tuple[WeightSpec, ...]) -> None:
        """weights: all that the layer has; those that the network asks for become its own."""
        self._known = {spec.name: spec for spec in weights}
        self._inputs: list[Tensor] = []
        self._weights: dict[str, Tensor] = {}
        self._nodes: list[Node] = []
        self._scalars: dict[tuple[float, DtypeName], Tensor] = {}

    def has(self, name: str) -> bool:
        """Whether the layer has that weight."""
        return name in self._known

    def input(self, name: str, width: int) -> Tensor:
        """A step's tensor of bfloat16."""
        self._inputs.append(Tensor(name=name, dtype="bfloat16", shape=("T", width)))
        return self._inputs[-1]

    def weight(self, name: str) -> Tensor:
        """A weight of the layer; a vector is one row."""
        if name not in self._weights:
            spec = self._known[name]
            rows, columns = spec.shape if len(spec.shape) == 2 else (1, *spec.shape)
            self._weights[name] = Tensor(name=name, dtype=spec.dtype, shape=(rows, columns))
        return self._weights[name]

    def wide(self, x: Tensor) -> Tensor:
        """x in float32."""
        return x if x.dtype == "float32" else self.cast(x, "float32")

    def cast(self, x: Tensor, dtype: DtypeName) -> Tensor:
        """x in that type."""
        assert not {x.dtype, dtype} & _SIDE, "E4M3 comes and goes by its scale"
        return self._node("cast", (x,), dtype=dtype)

    def scalar(self, value: float, dtype: DtypeName = "float32") -> Tensor:
        """One number, [1, 1]."""
        key = (value, dtype)
        if key not in self._scalars:
            self._scalars[key] = self._node("scalar", (), (1, 1), dtype, value=value)
        return self._scalars[key]

    def one(self, op: Op, x: Tensor) -> Tensor:
        """An operation on each element."""
        return self._node(op, (x,))

    def two(self, op: Op, a: Tensor, b: Tensor) -> Tensor:
        """An operation on each pair of elements."""
        assert a.dtype == b.dtype, f"{op} of {a.dtype} and {b.dtype}"
        return self._node(op, (a, b), (_rows(a, b), _columns(a, b)))

    def over_columns(self, op: Op, x: Tensor) -> Tensor:
        """A reduction of each row."""
        return self._node(op, (x,), (x.shape[0], 1))

    def quantize(self, x: Tensor) -> Tensor:
        """x in E4M3 and back in bfloat16: TensorRT makes an FP8 product of what follows."""
        codes = self._node("quantize", (x,), dtype="float8_e4m3fn")
        return self.dequantize(codes)

    def dequantize(self, x: Tensor) -> Tensor:
        """E4M3 in bfloat16."""
        return self._node("dequantize", (x,), dtype="bfloat16")

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """x times the weight, row by row."""
        assert x.dtype == weight.dtype and x.shape[1] == weight.shape[1]
        assert isinstance(weight.shape[0], int)
        return self._node("product", (x, weight), (x.shape[0], weight.shape[0]))

    def columns(self, x: Tensor, first: int, count: int) -> Tensor:
        """Some columns of x."""
        assert first + count <= x.shape[1]
        return self._node("columns", (x,), (x.shape[0], count), first=first)

    def finish(self, name: NetworkName, output: Tensor) -> Network:
        """The network that gives `output`."""
        return Network(
            name=name,
            inputs=tuple(self._inputs),
            weights=tuple(self._weights.values()),
            nodes=tuple(self._nodes),
            output=output.name,
        )

    def _node(
        self,
        op: Op,
        operands: tuple[Tensor, ...],
        shape: tuple[Rows, int] | None = None,
        dtype: DtypeName | None = None,
        *,
        value: float = 0.0,
        first: int = 0,
    ) -> Tensor:
        out = Tensor(
            name=f"t{len(self._nodes)}",
            dtype=dtype or operands[0].dtype,
            shape=shape or operands[0].shape,
        )
        names = tuple(operand.name for operand in operands)
        self._nodes.append(Node(op=op, out=out, inputs=names, value=value, first=first))
        return out


def _rows(a: Tensor, b: Tensor) -> Rows:
    one, other = a.shape[0], b.shape[0]
    assert one == other or 1 in (one, other), f"{a.shape} beside {b.shape}"
    return other if one == 1 else one


def _columns(a: Tensor, b: Tensor) -> int:
    one, other = a.shape[1], b.shape[1]
    assert one == other or 1 in (one, other), f"{a.shape} beside {b.shape}"
    return max(one, other)
