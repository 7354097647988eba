"""`nacelle bench scheduler`: its rows, and what it refuses."""

import pytest

from nacelle_bench.scheduler import bench_scheduler
from nacelle_engine.errors import InvalidRequest


def test_a_row_for_each_policy_load_and_number_of_requests():
    table = bench_scheduler([1, 3], context=40, steps=5)
    assert [(row["row"], row["running"]) for row in table.rows] == [
        (f"{policy}, {kind}", count)
        for policy in ("guaranteed_no_evict", "max_utilization")
        for kind in ("steady", "arrivals")
        for count in (1, 3)
    ]
    assert all(0 < row["schedule"] < row["step"] for row in table.rows)


def test_a_number_below_one_is_named():
    with pytest.raises(InvalidRequest, match="--steps: at least 1"):
        bench_scheduler([1], context=40, steps=0)
