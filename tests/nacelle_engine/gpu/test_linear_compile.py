"""The linear kernels compile for every GPU architecture, without a GPU."""

import re

import pytest
from cross_compile import cross_compile

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu import linear_residual, norm_gate_up, norm_linear, norm_logits
from nacelle_engine.ops.gpu.capability import shared_memory

pytestmark = pytest.mark.slow
# One token first: its kernels ask for weights early.
TOKENS = (1, 16, 128)
SHAPES = (
    (norm_linear, norm_linear.Shape(6144, 4096, 1e-5, bias=True)),
    (linear_residual, linear_residual.Shape(576, 1536)),
    (linear_residual, linear_residual.Shape(3584, 4096, bias=True, residual=False)),
    (norm_gate_up, norm_gate_up.Shape(14336, 4096, 1e-5, activation="gelu_tanh")),
    (norm_logits, norm_logits.Shape(49153, 576, 1e-5)),
    (norm_logits, norm_logits.Shape(256000, 3584, 1e-6, soft_cap=30.0)),
)


GPUS = [architecture for architecture in Architecture if not architecture.is_cpu]


@pytest.fixture(scope="module")
def compiled():
    """{architecture: kernels} of the safe choices, by one process for all."""
    return cross_compile(
        {
            gpu: [
                (op, shape, op.choices(shape, tokens, gpu)[0], {})
                for op, shape in SHAPES
                for tokens in TOKENS
            ]
            for gpu in GPUS
        }
    )


@pytest.mark.parametrize("architecture", GPUS)
def test_the_safe_choices_compile(compiled, architecture):
    for kernel in compiled[architecture]:
        # ptxas takes 8 bytes for itself on sm_100.
        assert kernel["stack"] <= 8, f"{kernel['name']} spills registers"
        assert kernel["shared"] <= shared_memory(architecture)
        assert re.search(r"cp\.async\.c[ag]\.shared\.global .*0x10", kernel["ptx"]), kernel["name"]


def test_weights_are_asked_for_before_the_predecessor_is_waited_for(compiled):
    for kernel in compiled[Architecture.SM_90][:: len(TOKENS)]:
        first = re.search(r"ld\.global\S*\.v4", kernel["ptx"])
        assert first and first.start() < kernel["ptx"].index("griddepcontrol.wait")
