"""Bundles that may be compared, and those that are refused by what differs."""

import pytest
from page_bundles import backend_bundle

from nacelle_bench.backend_pair import pair
from nacelle_engine.abi import ABI, abi_of, backend_of
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.limits import Limits
from nacelle_engine.precision import Quantization


@pytest.fixture
def native(tmp_path):
    return backend_bundle(tmp_path / "n", "native")


def test_an_abi_tells_its_backend():
    assert (backend_of(ABI), backend_of(abi_of("tensorrt"))) == ("native", "tensorrt")


def test_either_may_be_named_first(tmp_path, native):
    tensorrt = backend_bundle(tmp_path / "t", "tensorrt")
    assert pair(native, tensorrt) == pair(tensorrt, native) == (native, tensorrt)


def test_two_of_one_backend_are_refused(tmp_path, native):
    with pytest.raises(InvalidRequest) as refused:
        pair(native, backend_bundle(tmp_path / "m", "native"))
    assert str(refused.value) == (
        f"{tmp_path}/n and {tmp_path}/m are both of backend native: name one of native and one of "
        "tensorrt"
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"provenance": {"model_digest": "c" * 64}},
            "the checkpoint's digest (bbbbbbbbbbbbbbbb and cccccccccccccccc)",
        ),
        (
            {"provenance": {"calibration_digest": "d" * 64}},
            "the calibration's digest (none and dddddddddddddddd)",
        ),
        (
            {
                "limits": Limits(
                    max_batch_size=8, max_input_len=200, max_seq_len=256, max_num_tokens=512
                )
            },
            "limits.maxBatchSize (4 and 8), limits.maxNumTokens (192 and 512)",
        ),
        (
            {"quantization": Quantization(algorithm="FP8")},
            "quantization.algorithm (FP8_PER_CHANNEL_PER_TOKEN and FP8)",
        ),
    ],
)
def test_what_differs_is_named(tmp_path, native, changes, named):
    with pytest.raises(InvalidRequest) as refused:
        pair(native, backend_bundle(tmp_path / "t", "tensorrt", **changes))
    assert str(refused.value) == (
        f"{tmp_path}/n and {tmp_path}/t differ in {named}: build both of one checkpoint with the "
        "same flags beside --backend"
    )


def test_another_gpu_is_another_target(tmp_path, native):
    target = native.manifest.target.model_copy(update={"sm_count": 114})
    with pytest.raises(InvalidRequest, match=r"differ in target\.smCount \(132 and 114\)"):
        pair(native, backend_bundle(tmp_path / "t", "tensorrt", target=target))
