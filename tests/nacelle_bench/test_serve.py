"""`nacelle bench serve`: loads, figures, and what it refuses."""

import argparse
import socket

import pytest

from nacelle_bench.command import configure
from nacelle_bench.serve import bench_serve
from nacelle_bench.serve_figures import Engine, Goal, Run, Seen, figures, percentile
from nacelle_bench.serve_load import Load
from nacelle_engine.errors import InvalidRequest, TemporaryError

BEFORE, AFTER = Engine(10, 1.0, 4.0, 0.5), Engine(30, 1.1, 6.0, 0.55)


def bench(*flags):
    parser = argparse.ArgumentParser()
    configure(parser)
    return bench_serve(parser.parse_args(["serve", *flags]))


def seen(sent, *arrivals):
    return Seen(sent, list(arrivals), len(arrivals))


RUN = Run(
    Load(requests=2, prompt=5, answer=3, concurrency=8),
    [seen(0.0, 0.1, 0.11, 0.12), seen(1.0, 1.3, 1.34, 2.0)],
    BEFORE,
    AFTER,
)


def test_rates_are_over_the_time_from_the_first_request_to_the_last_token():
    row = figures(RUN, None)
    assert (row["seconds"], row["output_tok_s"], row["total_tok_s"]) == (2.0, 3.0, 8.0)
    assert (row["requests_s"], row["concurrency"]) == (1.0, 2)


def test_latencies_are_means_and_percentiles_in_milliseconds():
    row = figures(RUN, None)
    assert (row["ttft_ms_mean"], row["ttft_ms_p50"], row["ttft_ms_p90"]) == (200, 200, 280)
    assert row["itl_ms_mean"] == pytest.approx((10 + 10 + 40 + 660) / 4)
    assert row["itl_ms_p50"] == pytest.approx(25)
    assert row["e2e_ms_mean"] == pytest.approx(560)


def test_the_engines_own_account_is_that_of_the_run():
    row = figures(RUN, None)
    assert (row["steps"], row["step_ms"], row["idle_percent"]) == (20, 5.0, 2.5)


@pytest.mark.parametrize(
    ("goal", "percent"), [(Goal(0.2, 0.02), 50), (Goal(0.4, 0.36), 100), (Goal(0.05, 1), 0)]
)
def test_goodput_counts_requests_that_meet_both_bounds(goal, percent):
    row = figures(RUN, goal)
    assert row["good_percent"] == percent
    assert row["goodput_requests_s"] == percent / 100


def test_answers_of_one_token_have_no_time_between_tokens():
    row = figures(Run(Load(1, 5, 1), [seen(0.0, 0.5)], BEFORE, AFTER), Goal(1, 1))
    assert (row["itl_ms_mean"], row["itl_ms_p99"], row["good_percent"]) == (None, None, 100)


def test_a_request_that_failed_is_told_and_no_figures_are_made():
    failed = Seen(0.0, failure="the queue is full")
    with pytest.raises(TemporaryError, match="1 of 2 requests failed: the queue is full"):
        figures(Run(RUN.load, [RUN.seen[0], failed], BEFORE, AFTER), None)


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 2.5), (90, 3.7), (100, 4)])
def test_percentiles_are_linear_between_values(percent, value):
    assert percentile([1, 2, 3, 4], percent) == pytest.approx(value)


def test_a_seed_gives_the_same_prompts_and_another_gives_others():
    def prompts(seed):
        return list(Load(3, 40, 1, seed=seed).prompts(50))

    assert prompts(1) == prompts(1)
    assert not {tuple(p) for p in prompts(1)} & {tuple(p) for p in prompts(2)}
    assert all(len(p) == 40 and min(p) >= 0 and max(p) < 50 for p in prompts(1))


def test_a_rate_spreads_requests_at_random_and_a_concurrency_sends_them_when_there_is_room():
    times = list(Load(2000, 5, 1, rate=10.0).times())
    assert times == sorted(times) and times[-1] == pytest.approx(200, rel=0.1)
    gaps = sorted(b - a for a, b in zip([0.0, *times[:-1]], times, strict=True))
    assert gaps[1000] == pytest.approx(0.0693, rel=0.15), "not exponential"
    assert set(Load(9, 5, 1, concurrency=3).times()) == {0.0}


@pytest.mark.parametrize(
    ("load", "most"), [(Load(9, 5, 1, 3), 3), (Load(9, 5, 1), 9), (Load(9, 5, 1, 3, rate=1.0), 9)]
)
def test_how_many_run_at_once(load, most):
    assert load.most == most


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--requests", "0"), "--requests 0"),
        (("--prompt", "0"), "--prompt 0"),
        (("--answer", "0"), "--answer 0"),
        (("--concurrency", "4", "-1"), "--concurrency -1"),
        (("--rate", "0"), "--rate 0"),
        (("--rate", "5", "--concurrency", "2"), "--rate and --concurrency"),
        (("--warm-up", "-1"), "--warm-up -1"),
        (("--first-ms", "5"), "--first-ms and --between-ms"),
        (("--first-ms", "5", "--between-ms", "0"), "--between-ms 0"),
        (("--hf", "folder"), "--hf: the peer runs beside a bundle for this machine's CPU alone"),
        ((), "--model"),
    ],
)
def test_a_flag_that_cannot_be_is_named(flags, message):
    with pytest.raises(InvalidRequest, match=message):
        bench("http://127.0.0.1:9", *flags)


def test_a_server_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InvalidRequest, match=r"127\.0\.0\.1:9: no server answers"):
        bench("http://127.0.0.1:9", "--model", "m")
    with socket.socket(socket.AF_UNIX) as unbound:
        unbound.bind(str(tmp_path / "core.sock"))
        with pytest.raises(InvalidRequest, match="no core listens there"):
            bench(str(tmp_path / "core.sock"))


@pytest.mark.parametrize(
    ("prompt", "answer", "message"), [(9, 1, "--prompt 9"), (8, 5, "--answer 5")]
)
def test_what_the_server_cannot_hold_is_refused(prompt, answer, message):
    with pytest.raises(InvalidRequest, match=message):
        Load(1, prompt, answer).check(8, 12)
