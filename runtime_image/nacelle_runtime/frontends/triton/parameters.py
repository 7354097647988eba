"""The parameters in a model's config.pbtxt, which an owner of the repository may edit."""

import json
from collections.abc import Mapping
from typing import Any, Self

import msgspec

CORE_WAIT_SECONDS = 600.0


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model's code is told.

    core_socket                   the path of the core's socket, as the server sees it
    engine_key                    the engine whose tokenizer this is; no other core is asked
    model_name                    the label of our own metrics
    end_ids                       the ids that end an answer
    exclude_input_in_output       whether an answer that is not streamed leaves out its prompt
    cancellation_check_period_ms  how often running requests are asked whether they are cancelled
    core_wait_seconds             how long loading the model waits for the core to be ready
    """

    core_socket: str
    engine_key: str
    model_name: str
    end_ids: tuple[int, ...]
    exclude_input_in_output: bool = False
    cancellation_check_period_ms: int = 100
    core_wait_seconds: float = CORE_WAIT_SECONDS

    def excludes_input(self, asked: bool | None) -> bool:
        """Whether an answer leaves out its prompt, after what its request says."""
        return self.exclude_input_in_output if asked is None else asked

    def as_strings(self) -> dict[str, str]:
        """Each as JSON, but texts as they are."""
        values = msgspec.to_builtins(self)
        return {k: v if isinstance(v, str) else json.dumps(v) for k, v in values.items()}

    @classmethod
    def read(cls, model_config: Mapping[str, Any]) -> Self:
        """From a model's configuration as Triton has it; ValidationError names a wrong one."""
        given = {k: v["string_value"] for k, v in model_config.get("parameters", {}).items()}
        texts = {"core_socket", "engine_key", "model_name"}
        values = {k: v if k in texts else msgspec.json.decode(v) for k, v in given.items()}
        return msgspec.convert(values, cls)
