"""transformers' own model of a folder, loaded without its progress bars."""

from pathlib import Path
from typing import Any

import torch


def load_eager(folder: Path, dtype: torch.dtype, **options: Any) -> Any:
    """The causal language model in a folder, from its files alone."""
    # Imported here: seconds that most commands should not pay.
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    quiet: Any = logging
    quiet.disable_progress_bar()
    loader: Any = AutoModelForCausalLM
    return loader.from_pretrained(folder, dtype=dtype, local_files_only=True, **options)
