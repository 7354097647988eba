"""`nacelle bench plans`: what is missing or wrong is named; values have the tensors' shapes."""

import sys
import types

import pytest
import torch

from nacelle_bench import plans
from nacelle_builder.compile.tensorrt.network import Tensor
from nacelle_cli.main import main
from nacelle_engine.abi import TENSORRT_VERSION


def test_without_tensorrt_it_says_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorrt_bindings", None)
    assert main(["bench", "plans", "llama-3.2-1b"]) != 0
    assert "backend tensorrt: TensorRT is not installed here; install it with" in (
        capsys.readouterr().err
    )


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    here = types.SimpleNamespace(__version__=TENSORRT_VERSION)
    monkeypatch.setitem(sys.modules, "tensorrt_bindings", here)
    monkeypatch.setattr(plans, "first_gpu", lambda: None)
    assert main(["bench", "plans", "llama-3.2-1b"]) == 65
    assert "plans are timed on a GPU, and this machine has none" in capsys.readouterr().err


def test_a_wrong_flag_is_named(capsys):
    assert main(["bench", "plans", "llama-3.2-1b", "--tokens", "0"]) == 65
    assert "--tokens: at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("dtype", "shape", "size", "largest"),
    [
        ("float8_e4m3fn", (64, 32), (64, 32), 448.0),
        ("float32", (1, 64), (1, 64), 0.01),
        ("bfloat16", (1, 64), (1, 64), 6.0),
        ("bfloat16", (64, 32), (64, 32), 1.0),
        ("bfloat16", ("T", 32), (5, 32), 6.0),
    ],
)
def test_values_are_of_the_tensors_type_and_scale(dtype, shape, size, largest):
    made = plans.drawn(Tensor(name="a", dtype=dtype, shape=shape), rows=5)
    assert made.shape == size and str(made.dtype) == f"torch.{dtype}"
    assert 0 < made.float().abs().max() <= largest
    assert torch.equal(
        made.float(), plans.drawn(Tensor(name="a", dtype=dtype, shape=shape), 5).float()
    )
