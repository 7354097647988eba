"""A layer's two networks: everything of it but rope, the KV cache and attention.

entry:  qkv = linear(norm(x), qkv)
exit:   h = x + dense(attention);  y = h + down(act(gate) * up),  gate, up = gate_up(norm(h))
norm(x)[k] = x[k] / sqrt(mean_k x[k]^2 + eps) * weight[k]; a family with output norms applies one to
what dense and down give. The stream x is bfloat16 between layers and float32 within one; norms,
activation and sums are float32.

linear(x, W) by the recipe's algorithm:
NONE                        bfloat16(x) . W
FP8                         (e4m3(x / s) . W) * s * w             s, w: one number each
FP8_PER_CHANNEL_PER_TOKEN   (e4m3(x / s[t]) . W) * s[t] * w[n]    s[t] = max_k |x[t, k]| / 448
Rounded to bfloat16 before E4M3, every thirtieth number would become its neighbour, so it is not.
The product of two E4M3 tensors whose scales are both 1 is what TensorRT has FP8 kernels for, and
its scales cannot vary; so the true ones are multiplied in before and after, in float32, where the
norm and the residual's sum are computed anyway.
"""

from typing import Final

from nacelle_builder.compile.gpu.signature import signature_of
from nacelle_builder.compile.tensorrt.network import Network, Tensor
from nacelle_builder.compile.tensorrt.sketch import Sketch
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.precision import QuantizationAlgorithm
from nacelle_engine.recipe import Recipe

_LARGEST_E4M3: Final = 448.0
# A row of zeros must not be divided by 0, nor by what a GPU takes for 0.
_SMALLEST_ROW: Final = 2.0**-100


def layer_networks(spec: ModelSpec, recipe: Recipe) -> tuple[Network, Network]:
    """(entry, exit) of every layer: kinds of layers differ in attention alone."""
    weights = signature_of(spec, recipe).kinds[0].weights
    algorithm = recipe.quantization.algorithm
    entry = _Layer(spec, algorithm, Sketch(weights)).entry()
    return entry, _Layer(spec, algorithm, Sketch(weights)).exit()


class _Layer:
    def __init__(self, spec: ModelSpec, algorithm: QuantizationAlgorithm, sketch: Sketch) -> None:
        self._spec, self._algorithm, self._sketch = spec, algorithm, sketch

    def entry(self) -> Network:
        s = self._sketch
        x = s.input("x", self._spec.hidden_size)
        out = self._linear(self._norm(s.wide(x), "input_norm"), "qkv")
        return s.finish("entry", s.cast(out, "bfloat16"))

    def exit(self) -> Network:
        s, inner = self._sketch, self._spec.intermediate_size
        attention = s.input("attention", self._spec.q_size)
        x = s.input("x", self._spec.hidden_size)
        added = self._linear(s.wide(attention), "dense")
        stream = s.two("add", s.wide(x), self._output_norm(added, "attention_out_norm"))
        both = self._linear(self._norm(stream, "post_norm"), "gate_up")
        gate, up = s.columns(both, 0, inner), s.columns(both, inner, inner)
        added = self._linear(s.two("multiply", self._activation(gate), up), "down")
        stream = s.two("add", stream, self._output_norm(added, "mlp_out_norm"))
        return s.finish("exit", s.cast(stream, "bfloat16"))

    def _activation(self, x: Tensor) -> Tensor:
        if self._spec.activation == "gelu_tanh":
            return self._sketch.one("gelu_tanh", x)
        return self._sketch.two("multiply", x, self._sketch.one("sigmoid", x))

    def _output_norm(self, x: Tensor, name: str) -> Tensor:
        return self._norm(x, name) if self._spec.output_norms else x

    def _norm(self, x: Tensor, name: str) -> Tensor:
        """x float32 [T, K], normed."""
        s = self._sketch
        mean = s.over_columns("mean", s.two("multiply", x, x))
        root = s.one("sqrt", s.two("add", mean, s.scalar(self._spec.norm_eps)))
        return s.two("multiply", s.two("divide", x, root), s.wide(s.weight(name)))

    def _linear(self, x: Tensor, name: str) -> Tensor:
        """x float32 [T, K] times the weight of that name, with its bias; float32 [T, N]."""
        s = self._sketch
        if self._algorithm == QuantizationAlgorithm.NONE:
            out = s.wide(s.product(s.cast(x, "bfloat16"), s.weight(name)))
        else:
            out = self._scaled_product(x, name)
        bias = f"{name}_bias"
        return s.two("add", out, s.wide(s.weight(bias))) if s.has(bias) else out

    def _scaled_product(self, x: Tensor, name: str) -> Tensor:
        s = self._sketch
        static = self._algorithm == QuantizationAlgorithm.FP8
        scale = s.weight(f"{name}_input_scale") if static else self._row_scale(x)
        fitted = s.quantize(s.two("divide", x, scale))
        raw = s.wide(s.product(fitted, s.dequantize(s.weight(name))))
        factor = s.weight(f"{name}_factor" if static else f"{name}_scale")
        return s.two("multiply", raw, s.two("multiply", scale, factor))

    def _row_scale(self, x: Tensor) -> Tensor:
        """[T, 1]: a row's largest absolute value over that of E4M3."""
        s = self._sketch
        largest = s.over_columns("largest", s.one("absolute", x))
        largest = s.two("maximum", largest, s.scalar(_SMALLEST_ROW))
        return s.two("divide", largest, s.scalar(_LARGEST_E4M3))
