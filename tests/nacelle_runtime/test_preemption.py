"""MAX_UTILIZATION: more run at once, and who is put back loses nothing."""

import pytest
from scheduling import MAX_UTILIZATION, StandIn, make, request

PROMPTS = [[number * 10 + i for i in range(6)] for number in range(1, 6)]


def play(scheduler, model, watch=lambda: None):
    answers = {}
    while not scheduler.idle:
        batch = scheduler.schedule()
        for item in scheduler.commit(batch, model.run(batch)):
            tokens = answers.setdefault(item.request[1], [])
            assert item.position == len(tokens), "a token came twice, or one is lost"
            tokens.append(item.token)
        scheduler.check()
        watch()
    return answers


@pytest.mark.parametrize("caching", [True, False])
def test_answers_of_requests_put_back_are_those_of_lone_ones(caching):
    blocks = 11
    scheduler = make(blocks=blocks, caching=caching, policy=MAX_UTILIZATION)
    model = StandIn(blocks, stop_every=10**9)
    for number, prompt in enumerate(PROMPTS):
        scheduler.submit(request(number, prompt, max_tokens=20, seed=number))
    answers = play(scheduler, model)
    assert scheduler.preemptions > 0, "nobody was put back: the test shows nothing"
    assert answers == {n: model.alone(p, 20, seed=n) for n, p in enumerate(PROMPTS)}
    assert scheduler.pool.available == scheduler.pool.total


def test_more_requests_run_than_could_be_guaranteed():
    def most_running(**bounds):
        scheduler = make(blocks=16, **bounds)
        for number, prompt in enumerate(PROMPTS[:4]):
            scheduler.submit(request(number, prompt, max_tokens=30))
        most = []
        model = StandIn(16, stop_every=8)
        play(scheduler, model, lambda: most.append(len(scheduler.running)))
        return max(most)

    assert most_running() < most_running(policy=MAX_UTILIZATION)


def test_the_youngest_of_the_lowest_priority_is_put_back():
    scheduler = make(blocks=11, caching=False, policy=MAX_UTILIZATION)
    model, gone = StandIn(11, stop_every=10**9), []
    priorities = [0, 5, 0, 9]
    for number, priority in enumerate(priorities):
        scheduler.submit(request(number, PROMPTS[number][:3], 30, priority=priority))
    assert len(scheduler.running) == 4

    def watch():
        ran = {r.id[1] for r in scheduler.running}
        gone.extend(n for n in range(4) if n not in ran and n not in gone)

    play(scheduler, model, watch)
    assert gone[0] == 2
    assert gone.index(0) < gone.index(1)


def test_who_has_been_put_back_often_is_put_back_no_more_by_later_ones():
    scheduler = make(blocks=9, caching=False, policy=MAX_UTILIZATION, patience=2, queue=50)
    model = StandIn(9, stop_every=10**9)
    low = request(0, [5] * 6, max_tokens=20, priority=-1)
    scheduler.submit(low)
    number, urgent_at = 1, None
    while low.id in scheduler.requests:
        while len(scheduler.waiting) < 3:
            scheduler.submit(request(number, [number % 90] * 5, max_tokens=12))
            number += 1
        batch = scheduler.schedule()
        scheduler.commit(batch, model.run(batch))
        scheduler.check()
        if low.urgent and urgent_at is None:
            urgent_at = low.passed
        assert number < 40, "it starves"
    assert urgent_at == 2
    assert low.passed == 2


def test_with_a_prefix_cache_little_is_computed_again():
    def computed(caching):
        scheduler = make(blocks=11, caching=caching, policy=MAX_UTILIZATION)
        model, tokens = StandIn(11, stop_every=10**9), 0
        for number, prompt in enumerate(PROMPTS):
            scheduler.submit(request(number, prompt, max_tokens=20))
        while not scheduler.idle:
            batch = scheduler.schedule()
            tokens += batch.tokens
            scheduler.commit(batch, model.run(batch))
        return tokens

    assert computed(caching=True) < computed(caching=False)


def test_a_request_put_back_can_be_cancelled():
    scheduler = make(blocks=11, caching=False, policy=MAX_UTILIZATION)
    model = StandIn(11, stop_every=10**9)
    for number, prompt in enumerate(PROMPTS):
        scheduler.submit(request(number, prompt, max_tokens=20))
    while not scheduler.preemptions:
        batch = scheduler.schedule()
        scheduler.commit(batch, model.run(batch))
    assert scheduler.cancel(scheduler.requests) == 5
    scheduler.check()
    assert scheduler.idle
    assert scheduler.pool.available == scheduler.pool.total
