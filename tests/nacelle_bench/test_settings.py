"""What a run is told works, or is refused by the flag's name."""

from pathlib import Path

import pytest

from nacelle_bench.engine import check_settings
from nacelle_bench.settings import Ceilings, Mixed, Prompts, Settings
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.limits import Limits

LIMITS = Limits(max_batch_size=4, max_input_len=200, max_seq_len=256, max_num_tokens=128)


def test_prompts_are_number_and_length():
    assert Prompts.parse("256,2048") == Prompts(256, 2048)


@pytest.mark.parametrize("text", ["", "256", "256,", ",5", "0,5", "5,0", "-1,5", "2x5", "1,2,3"])
def test_other_prompts_are_refused(text):
    with pytest.raises(InvalidRequest, match="--prefill"):
        Prompts.parse(text)


def test_a_mixed_step_is_decoding_requests_and_a_prompt():
    assert Mixed.parse("8,120") == Mixed(8, 120)


@pytest.mark.parametrize("text", ["", "8", "8,", ",5", "8,1", "-1,5", "2x5", "1,2,3"])
def test_other_mixed_steps_are_refused(text):
    with pytest.raises(InvalidRequest, match="--mixed"):
        Mixed.parse(text)


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        (Settings(prompt=0), "--prompt"),
        (Settings(prompt=129, tokens=2), "--prompt"),
        (Settings(tokens=1), "--tokens"),
        (Settings(prompt=100, tokens=157), "--tokens"),
        (Settings(streams=0), "--streams"),
        (Settings(rounds=0), "--rounds"),
        (Settings(prefill=(Prompts(1, 129),)), "--prefill"),
        (Settings(mixed=(Mixed(3, 126),)), "--mixed"),
        (Settings(mixed=(Mixed(4, 10),)), "--mixed"),
    ],
)
def test_what_the_engine_does_not_hold_is_refused(settings, flag):
    with pytest.raises(InvalidRequest, match=flag):
        settings.check(LIMITS)


def test_what_fits_is_taken():
    mixed = (Mixed(3, 125), Mixed(0, 128))
    Settings(prompt=100, tokens=156, prefill=(Prompts(9, 128),), mixed=mixed).check(LIMITS)


@pytest.mark.parametrize("value", [0.0, -5.0, float("nan")])
def test_a_ceiling_is_above_nothing(value):
    with pytest.raises(InvalidRequest, match="--read-gb-s"):
        Ceilings(read_gb_s=value)


@pytest.mark.parametrize(
    ("settings", "hf", "on_gpu", "flag"),
    [
        (Settings(), Path("hf"), True, "--hf"),
        (Settings(prefill=(Prompts(1, 8),)), None, False, "--prefill"),
        (Settings(ceilings=Ceilings(matrix_tflop_s=1.0)), None, False, "--matrix-tflops"),
    ],
)
def test_a_flag_of_the_other_kind_of_target_is_refused(settings, hf, on_gpu, flag):
    with pytest.raises(InvalidRequest, match=flag):
        check_settings(settings, hf, LIMITS, on_gpu=on_gpu)
