"""A checkpoint's config.json in Hugging Face's words, whichever tool wrote it."""

from typing import Any

from nacelle_builder.source.files import CheckpointFiles, read_json
from nacelle_builder.source.formats.tensorrt_llm import hugging_face_config, is_tensorrt_llm


def model_config(files: CheckpointFiles) -> dict[str, Any]:
    """What the model is; InvalidModel and UnsupportedModel name file and field."""
    config = read_json(files.config)
    return hugging_face_config(config, str(files.config)) if is_tensorrt_llm(config) else config
