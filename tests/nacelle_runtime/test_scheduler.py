"""The scheduler under GUARANTEED_NO_EVICT: what a step holds, and who gets in."""

import pytest
from scheduling import SIZE, STOP, make, request, run_dry, step

from nacelle_runtime.batch import Drawn
from nacelle_runtime.request import (
    Ending,
    FinishReason,
    Logprob,
    RefusalCode,
    Request,
    Sampling,
)


def test_a_long_prompt_is_run_in_chunks_beside_decodes():
    scheduler = make()
    scheduler.submit(request(1, [5] * 3, max_tokens=9))
    step(scheduler)
    scheduler.submit(request(2, range(10, 30)))
    sizes = []
    for _ in range(4):
        batch, _ = step(scheduler)
        sizes.append([len(chunk.tokens) for chunk in batch.chunks])
    assert sizes == [[1, 8], [1, 8], [1, 4], [1, 1]]


def test_an_answer_ends_at_its_stop_id_or_its_length():
    scheduler = make()
    scheduler.submit(request(1, [5, 6], max_tokens=2))
    scheduler.submit(request(2, [6, 5], max_tokens=5))
    answers = iter([7, 8, 9, STOP])
    done = {}
    while not scheduler.idle:
        for out in step(scheduler, lambda draw: next(answers))[1]:
            if out.finish:
                done[out.request[1]] = (out.finish, out.position)
    assert done == {1: (FinishReason.LENGTH, 1), 2: (FinishReason.STOP, 1)}


def test_stop_ids_are_banned_until_min_tokens_are_out():
    scheduler = make()
    scheduler.submit(request(1, [5, 6], max_tokens=5, min_tokens=2))
    banned = []
    while not scheduler.idle:
        batch, _ = step(scheduler)
        banned += [set(draw.banned) for draw in batch.draws]
    assert banned == [{STOP}, {STOP}, set(), set(), set()]


def test_a_shared_prefix_is_computed_once_and_only_under_its_salt():
    scheduler = make()
    prompt = list(range(10, 23))
    for number, salt in enumerate(["", "", "tenant"]):
        scheduler.submit(request(number, prompt, salt=salt))
        run_dry(scheduler)
        assert scheduler.hit_tokens == (0, 12, 12)[number]


def test_a_prompt_of_full_blocks_keeps_its_last_token_to_compute():
    scheduler = make()
    for number in range(2):
        scheduler.submit(request(number, range(10, 18)))
        run_dry(scheduler)
    assert scheduler.hit_tokens == SIZE


def test_an_answer_is_a_prefix_of_the_next_turn():
    scheduler = make()
    scheduler.submit(request(1, range(10, 15), max_tokens=6))
    answer = [out.token for out in run_dry(scheduler)]
    scheduler.submit(request(2, [*range(10, 15), *answer, 50, 51]))
    run_dry(scheduler)
    assert scheduler.hit_tokens == 8


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "message"),
    [
        ([], 3, "the prompt is empty"),
        ([5, 100], 3, "token ids must lie in 0 to 99"),
        ([5] * 41, 3, "the prompt has 41 tokens; the limit is 40"),
        ([5] * 40, 21, "40 prompt tokens and 21 to come; a sequence has at most 60"),
        ([5], 0, "1 prompt tokens and 0 to come; a sequence has at most 60"),
    ],
)
def test_what_cannot_run_is_refused(prompt, max_tokens, message):
    refusal = make().submit(request(1, prompt, max_tokens))
    assert (refusal.code, refusal.message) == (RefusalCode.INVALID, message)


def test_a_full_queue_refuses_and_takes_again_when_it_has_emptied():
    scheduler = make(blocks=4, queue=2)
    for number in range(3):
        assert scheduler.submit(request(number, [5] * 9)) is None
    refusal = scheduler.submit(request(3, [5] * 9))
    assert refusal.code is RefusalCode.QUEUE_FULL
    run_dry(scheduler)
    assert scheduler.submit(request(3, [5] * 9)) is None


def test_first_come_is_first_served_even_when_a_later_one_would_fit():
    scheduler = make(blocks=9)
    scheduler.submit(request(1, [5] * 20, max_tokens=1))
    scheduler.submit(request(2, [6] * 20, max_tokens=1))
    scheduler.submit(request(3, [7] * 2, max_tokens=1))
    assert [r.id[1] for r in scheduler.running] == [1]
    order = [out.request[1] for out in run_dry(scheduler)]
    assert order.index(1) < order.index(2)


def test_a_cancelled_request_frees_its_blocks_wherever_it_stands():
    scheduler = make(blocks=4, caching=False)
    scheduler.submit(request(1, [5] * 9))
    scheduler.submit(request(2, [5] * 9))
    step(scheduler)
    assert scheduler.cancel([(0, 1), (0, 2), (0, 9)]) == 2
    scheduler.check()
    assert scheduler.idle
    assert scheduler.pool.available == scheduler.pool.total


def test_whole_prompts_are_never_split_and_hold_up_answers_for_one_step():
    scheduler = make(chunked=False, tokens=16, prefill_tokens=4)
    scheduler.submit(request(1, [5] * 3, max_tokens=9))
    step(scheduler)
    scheduler.submit(request(2, range(10, 26)))
    scheduler.submit(request(3, range(30, 46)))
    scheduler.submit(request(4, range(50, 54), max_tokens=1))
    sizes = []
    for _ in range(5):
        batch, _ = step(scheduler)
        sizes.append([len(chunk.tokens) for chunk in batch.chunks])
    assert sizes == [[16], [1, 1], [16], [1, 1, 1, 4], [1, 1]]


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (Sampling(top_p=0), "top_p is out of range"),
        (Sampling(top_p=1e-12), "top_p is out of range"),
        (Sampling(temperature=-1), "temperature is out of range"),
        (Sampling(temperature=1e-40), "temperature is out of range"),
        (Sampling(temperature=float("inf")), "temperature is out of range"),
        (Sampling(repetition_penalty=0), "repetition_penalty is out of range"),
        (Sampling(repetition_penalty=5e-324), "repetition_penalty is out of range"),
        (Sampling(presence_penalty=float("nan")), "presence_penalty is out of range"),
        (Sampling(frequency_penalty=1e300), "frequency_penalty is out of range"),
        (Sampling(logit_bias={3: float("inf")}), "logit_bias is out of range"),
        (Sampling(logprobs=21), "logprobs is out of range"),
        (Sampling(logit_bias={100: 1}), "logit_bias: token ids must lie in 0 to 99"),
        (Sampling(bad_words=((5, -1),)), "bad_words: token ids must lie in 0 to 99"),
        (Sampling(bad_words=((),)), "bad_words: a word has no tokens"),
        (
            Sampling(bad_words=tuple((i,) for i in range(2, 100))),
            "bad_words and stop_token_ids leave no token to draw",
        ),
    ],
)
def test_sampling_that_cannot_be_is_refused(sampling, message):
    asked = Request((0, 1), [5], sampling, Ending(3, frozenset({0, STOP})))
    assert make().submit(asked).message == message


def test_a_request_that_the_pool_can_never_hold_is_refused():
    refusal = make(blocks=4).submit(request(1, [5] * 10, max_tokens=4))
    assert refusal.message == "13 tokens do not fit the cache's 3 blocks"


def test_more_prompt_log_probabilities_than_a_message_holds_are_refused():
    scheduler = make(blocks=8000, input_len=25_000, sequence_len=26_000)
    asked = Request((0, 1), [5] * 24_000, Sampling(), Ending(3), prompt_logprobs=20)
    message = "prompt_logprobs gives 504000 values; the limit is 500000"
    assert scheduler.submit(asked).message == message


def test_bad_words_ban_their_last_token_after_the_others():
    scheduler = make()
    words = ((9,), (7, 8), (5, 7, 7))
    asked = Request((0, 1), [5, 7], Sampling(bad_words=words), Ending(4))
    scheduler.submit(asked)
    answers, banned = iter([7, 5, 7, 6]), []
    while not scheduler.idle:
        batch, _ = step(scheduler, lambda draw: next(answers))
        banned += [set(draw.banned) for draw in batch.draws]
    assert banned == [{9}, {9, 8}, {9}, {9, 8, 7}]


def test_penalties_see_the_prompt_and_count_the_answer():
    scheduler = make()
    asked = Request((0, 1), [5, 6], Sampling(presence_penalty=1), Ending(4))
    scheduler.submit(asked)
    answers, seen = iter([7, 5, 7, 6]), []
    while not scheduler.idle:
        batch = scheduler.schedule()
        seen += [dict(draw.seen.answer) for draw in batch.draws]
        assert batch.draws[0].seen.prompt == {5, 6}
        scheduler.commit(batch, Drawn([next(answers)]))
    assert seen == [{}, {7: 1}, {7: 1, 5: 1}, {7: 2, 5: 1}]


def test_the_prompts_log_probabilities_are_asked_for_once_in_order():
    scheduler = make()
    prompt = list(range(10, 30))
    scheduler.submit(request(1, prompt))
    run_dry(scheduler)
    asked = Request((0, 2), prompt, Sampling(), Ending(2), prompt_logprobs=0)
    scheduler.submit(asked)
    targets = []
    while not scheduler.idle:
        batch = scheduler.schedule()
        (chunk,) = batch.chunks
        scores = {}
        if chunk.score is not None:
            assert chunk.score.first == 0
            targets += chunk.score.targets
            scores[0] = [Logprob(-float(t), 1, [], []) for t in chunk.score.targets]
        out = scheduler.commit(batch, Drawn([7] * len(batch.draws), scores=scores))
        for item in out:
            told = item.prompt_logprobs
            assert (told is None) == (item.position > 0)
            if told is not None:
                assert [-t.value for t in told] == prompt[1:]
    assert targets == prompt[1:]
