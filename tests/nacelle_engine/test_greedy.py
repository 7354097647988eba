"""The largest logit's index, found at once or in parts."""

import pytest
import torch

from nacelle_engine.ops.greedy import greedy, in_parts


@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("parts", [1, 3, 501])
def test_parts_give_the_row_s_index(rows, parts):
    torch.manual_seed(rows)
    logits = torch.randn(rows, parts * 256)
    logits[0, -1] = 9.0
    assert torch.equal(in_parts(logits.view(rows, parts, 256)), logits.argmax(-1))
    assert torch.equal(greedy(logits), logits.argmax(-1))


def test_a_vocabulary_of_any_size():
    assert greedy(torch.tensor([[0.0, 2.0, 1.0]])).tolist() == [1]
