"""The rule of when drafting pays, by a table; its formulas; what a request's record holds."""

import pytest

from nacelle_runtime.speculation.payoff import (
    RETRY,
    TRIED,
    Costs,
    Load,
    Record,
    Steps,
    expected,
    pays,
    worth_drafting,
)

GPU = Costs((1, 64, 128, 256), (2.0, 2.1, 3.0, 5.0))
CPU = Costs((1, 8, 16), (1.0, 3.0, 5.6))
BUSY = Costs((1, 128, 256), (2.0, 3.0, 5.9))
LINEAR = Costs((1, 2), (1.0, 2.0))
GOOD, FAIR, BAD = Record(40, 36), Record(40, 20), Record(40, 2)
TIRED = BAD._replace(idle=RETRY)


@pytest.mark.parametrize(
    ("case", "record", "load", "costs", "count"),
    [
        ("one answer, guesses that hold", GOOD, Load(1, 1), GPU, 8),
        ("one answer, half of them hold", FAIR, Load(1, 1), GPU, 8),
        ("even bad guesses pay where tokens are nearly free", BAD, Load(1, 1), GPU, 2),
        ("nothing is known of a new request", Record(), Load(1, 1), GPU, 8),
        ("32 answers still leave a GPU time", GOOD, Load(32, 32), GPU, 8),
        ("for fair guesses too", FAIR, Load(32, 32), GPU, 5),
        ("a full batch has no time for good ones", GOOD, Load(128, 128), BUSY, 0),
        ("beside a long prompt a good one's tokens are cheap", GOOD, Load(513, 1), GPU, 8),
        ("each token costs a third of a step", GOOD, Load(1, 1), CPU, 5),
        ("half of the guesses pay that barely", FAIR, Load(1, 1), CPU, 1),
        ("bad ones do not", BAD, Load(1, 1), CPU, 0),
        ("eight answers at once keep a CPU busy", FAIR, Load(8, 8), CPU, 0),
        ("nothing pays where steps are as long as their tokens", GOOD, Load(1, 1), LINEAR, 0),
        ("perfect guesses neither", Record(1e9, 1e9), Load(4, 4), LINEAR, 0),
        ("sitting every second step out must pay too", FAIR, Load(4, 4, 2), GPU, 0),
        ("guesses that hold do that", GOOD, Load(4, 4, 2), GPU, 8),
        ("drafts by an engine cost time", GOOD, Load(1, 1, 1, 0.4), GPU, 6),
        ("too much of it", GOOD, Load(1, 1, 1, 1.9), GPU, 0),
        ("bad guesses are tried again with few", TIRED, Load(1, 1), CPU, TRIED),
        ("but not where perfect ones would not pay", TIRED, Load(1, 1), LINEAR, 0),
    ],
)
def test_how_many_tokens_are_drafted(case, record, load, costs, count):
    assert worth_drafting(record, load, costs, most=8) == count, case


def test_no_more_than_may_be():
    assert [worth_drafting(GOOD, Load(1, 1), GPU, most) for most in (0, 1, 5)] == [0, 1, 5]


@pytest.mark.parametrize("acceptance", [0.0, 0.3, 0.9, 1.0])
def test_the_expected_tokens_are_the_sum_over_how_many_are_kept(acceptance):
    for count in range(9):
        chances = [acceptance**kept * (1 - acceptance) for kept in range(count)]
        chances.append(acceptance**count)
        assert sum(chances) == pytest.approx(1)
        summed = sum((kept + 1) * chance for kept, chance in enumerate(chances))
        assert expected(acceptance, count) == pytest.approx(summed)


def test_costs_go_straight_from_size_to_size_and_on_behind_the_last():
    costs = Costs.measured([(8, 5.0), (1, 1.0), (4, 0.5), (16, 6.0)])
    found = [costs.of(tokens) for tokens in (0, 1, 3, 4, 6, 8, 12, 16, 32)]
    assert found == pytest.approx([1, 1, 1, 1, 3, 5, 5.5, 6, 8])
    assert Costs.measured([(1, 2.0)]).of(50) == 2.0


def test_a_record_counts_what_was_tested_and_newer_draws_more():
    record = Record().passed_over().passed_over()
    assert (record.idle, record.acceptance) == (2, 0.5)
    record = record.drafted(4, 2)
    assert record == Record(3, 2, 0)
    assert record.drafted(3, 3) == pytest.approx(Record(3 * 0.9 + 3, 2 * 0.9 + 3, 0))
    for _ in range(60):
        record = record.drafted(4, 4)
    assert record.acceptance > 0.97


# A step of answers alone takes 2.4 to 3.0 on this machine, one with drafts 2.7 and more.
DRAFTED = Costs((1, 8, 64, 256), (2.7, 3.3, 4.6, 6.5))
HOLD, FAIR_ONES = (4, 0.7), (4, 0.6)


@pytest.mark.parametrize(
    ("case", "answers", "drafts", "steps", "found"),
    [
        ("one answer", 1, [HOLD], Steps(2.4, DRAFTED), True),
        ("its guesses fail", 1, [(4, 0.1)], Steps(2.4, DRAFTED), False),
        ("one of eight pays for the other kind of step", 8, [HOLD], Steps(2.7, DRAFTED), False),
        ("all of eight do", 8, [HOLD] * 8, Steps(2.7, DRAFTED), True),
        ("fair guesses too", 8, [FAIR_ONES] * 8, Steps(2.7, DRAFTED), True),
        (
            "less where each sits every second step out",
            8,
            [FAIR_ONES] * 8,
            Steps(2.7, DRAFTED, 2),
            False,
        ),
        ("but with guesses that hold", 8, [(4, 0.95)] * 8, Steps(2.7, DRAFTED, 2), True),
        ("nor where drafts cost too much", 8, [HOLD] * 8, Steps(2.7, DRAFTED, 1, 0.2), False),
        (
            "beside a prompt the step is of that kind",
            8,
            [HOLD],
            Steps(5.1, DRAFTED, 1, 0, 100),
            True,
        ),
    ],
)
def test_what_some_wish_must_pay_for_all(case, answers, drafts, steps, found):
    assert pays(answers, drafts, steps) is found, case


def test_who_tries_again_hopes_for_perfect_guesses():
    assert TIRED.hoped == 1.0
    assert BAD.hoped == BAD.acceptance < 0.1
