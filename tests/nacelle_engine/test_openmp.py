"""Threads of kernels wait awake for a short time, unless the user has said for how long."""

import pytest

from nacelle_engine.openmp import TURNS, limit_waiting


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({}, str(TURNS)),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, None),
    ],
)
def test_a_users_word_stands(given, count):
    limit_waiting(environment := dict(given))
    assert environment.get("GOMP_SPINCOUNT") == count
