"""What a core runs before it serves: it fits every queue, batch and cache that can be asked for."""

import pytest
import torch
from scheduling import GUARANTEED, MAX_UTILIZATION, StandIn, make

from nacelle_runtime.loader import _warm_up
from nacelle_runtime.pipeline import Pipeline


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    "bounds",
    [
        {"requests": 1, "queue": 1},
        {"requests": 12, "queue": 1, "blocks": 9, "policy": MAX_UTILIZATION},
        {"requests": 12, "queue": 3, "blocks": 14, "policy": MAX_UTILIZATION, "input_len": 2},
        {"requests": 12, "queue": 1, "blocks": 3, "policy": GUARANTEED, "sequence_len": 8},
        {"requests": 4, "queue": 1, "blocks": 20, "chunked": False, "input_len": 3},
    ],
    ids=range(5),
)
def test_it_waits_for_a_place_in_a_short_queue(bounds, device, depth):
    warm_up(bounds, device, depth)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("longest", [2, 3, 4, 5])
def test_it_fits_the_shortest_sequences(longest, device, depth):
    warm_up({"sequence_len": longest, "input_len": longest - 1}, device, depth)


def warm_up(bounds, device, depth):
    scheduler = make(**bounds)
    pipeline = Pipeline(scheduler, StandIn(bounds.get("blocks", 20)), depth)
    _warm_up(pipeline, torch.device(device))
    assert scheduler.idle
    assert scheduler.pool.used == scheduler.pool.idle == 0
