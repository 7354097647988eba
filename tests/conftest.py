"""Triton interprets its kernels on the CPU in every test: it reads this when it is imported."""

import os
from collections.abc import Iterable

import pytest

os.environ["TRITON_INTERPRET"] = "1"


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Interpreted kernels take minutes: they run with the other slow tests."""
    for item in items:
        if item.path.parent.name == "gpu":
            item.add_marker(pytest.mark.slow)
