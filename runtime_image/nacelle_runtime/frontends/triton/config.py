"""A Triton model's config.pbtxt, as text."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nacelle_runtime.frontends.triton.contract import Tensor


@dataclass(frozen=True)
class ModelConfig:
    """One model of the Python backend: its tensors, and the parameters that its code reads."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    parameters: Mapping[str, str]

    def text(self) -> str:
        """The file's content."""
        lines = [
            f"name: {_quoted(self.name)}",
            'backend: "python"',
            # The core forms the batches.
            "max_batch_size: 1",
            "model_transaction_policy { decoupled: true }",
            "instance_group [ { count: 1, kind: KIND_CPU } ]",
            *_tensors("input", self.inputs),
            *_tensors("output", self.outputs),
            *(
                f"parameters {{ key: {_quoted(key)}, value: {{ string_value: {_quoted(value)} }} }}"
                for key, value in self.parameters.items()
            ),
        ]
        return "\n".join(lines) + "\n"


def _tensors(kind: str, tensors: Iterable[Tensor]) -> list[str]:
    made = []
    for tensor in tensors:
        dims = ", ".join(map(str, tensor.dims))
        optional = ", optional: true" if kind == "input" and tensor.optional else ""
        made.append(
            f"  {{ name: {_quoted(tensor.name)}, data_type: TYPE_{tensor.type}, "
            f"dims: [ {dims} ]{optional} }}"
        )
    return [f"{kind} [", ",\n".join(made), "]"]


def _quoted(text: str) -> str:
    """A string of protobuf's text format, whose escapes JSON's are when nothing is escaped by \\u.

    Characters beyond ASCII stand as they are: the format is UTF-8.
    """
    return json.dumps(text, ensure_ascii=False)
