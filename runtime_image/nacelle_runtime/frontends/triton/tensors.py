"""Between Triton's tensors and plain values; the only file with numpy."""

import json
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import triton_python_backend_utils as triton

from nacelle_runtime.frontends.triton.answers import Response
from nacelle_runtime.frontends.triton.contract import Tensor
from nacelle_runtime.frontends.triton.errors import Code, NotAnswered

_TYPES: Final = {
    "INT32": np.int32,
    "UINT64": np.uint64,
    "FP32": np.float32,
    "BOOL": np.bool_,
    "STRING": np.object_,
}
# generate's own fields: Triton takes the id as the request's.
_PASSED: Final = frozenset({"id"})
_FINAL: Final = triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL


def read(request: Any, inputs: Iterable[Tensor]) -> dict[str, Any]:
    """The values of the inputs that a request gives: one value, or a flat list.

    NotAnswered names a parameter, or a text that is not UTF-8.
    """
    _check_parameters(request)
    values: dict[str, Any] = {}
    for tensor in inputs:
        given = triton.get_input_tensor_by_name(request, tensor.name)
        if given is None:
            continue
        flat = given.as_numpy().reshape(-1).tolist()
        if tensor.type == "STRING":
            flat = [_text(tensor.name, value) for value in flat]
        values[tensor.name] = flat[0] if tensor.scalar else flat
    return values


class TritonClient:
    """Who sent a request; implements running.Client."""

    def __init__(self, request: Any, outputs: tuple[Tensor, ...]) -> None:
        self.request_id: str = request.request_id()
        self._outputs = outputs
        self._sender = request.get_response_sender()

    @property
    def gone(self) -> bool:
        """See Client."""
        return bool(self._sender.is_cancelled())

    def send(self, response: Response) -> None:
        """See Client."""
        made = [_output(one, response.values[one.name]) for one in self._outputs]
        flags = _FINAL if response.final else 0
        self._sender.send(triton.InferenceResponse(made), flags=flags)

    def fail(self, problem: NotAnswered) -> None:
        """See Client."""
        code = getattr(triton.TritonError, problem.code.value)
        made = triton.InferenceResponse(error=triton.TritonError(str(problem), code))
        self._sender.send(made, flags=_FINAL)

    def end(self) -> None:
        """See Client."""
        self._sender.send(flags=_FINAL)


def _output(tensor: Tensor, values: list[Any]) -> Any:
    """Its sizes are 1 but the last: the batch's, then the beams'."""
    shape = [1] * len(tensor.dims) + [len(values)]
    made = [v.encode() for v in values] if tensor.type == "STRING" else values
    return triton.Tensor(tensor.name, np.array(made, dtype=_TYPES[tensor.type]).reshape(shape))


def _check_parameters(request: Any) -> None:
    """Triton's generate endpoints make a parameter of every field that is no input."""
    unknown = json.loads(request.parameters() or "{}").keys() - _PASSED
    if unknown:
        raise NotAnswered(
            Code.INVALID_ARG, f"unexpected inference input or parameter {sorted(unknown)[0]!r}"
        )


def _text(name: str, value: Any) -> str:
    raw = value if isinstance(value, bytes) else str(value).encode()
    try:
        return raw.decode()
    except UnicodeDecodeError as problem:
        raise NotAnswered(Code.INVALID_ARG, f"{name} is not UTF-8: {problem}") from problem
