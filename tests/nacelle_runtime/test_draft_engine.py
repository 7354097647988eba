"""A second engine's drafts: its cache, its blocks, its draws; over the stand-in for a model."""

import pytest
from scheduling import SIZE, StandIn, make, request

from nacelle_runtime.kv_blocks import BlockPool
from nacelle_runtime.speculation.draft_engine import DraftEngine
from nacelle_runtime.speculation.drafter import Wish
from nacelle_runtime.speculation.payoff import Costs
from nacelle_runtime.speculation.speculation import Speculation


class Launches(StandIn):
    """Tells the sizes of the chunks of each step."""

    def __init__(self, blocks):
        super().__init__(blocks, stop_every=10**9)
        self.steps = []

    def launch(self, batch, before):
        self.steps.append([len(chunk.tokens) for chunk in batch.chunks])
        return super().launch(batch, before)


def drafting(blocks=20, most_tokens=16):
    model = Launches(blocks)
    costs = Costs((1, 4), (1.0, 2.0))
    return model, DraftEngine(model, BlockPool(blocks), SIZE, most_tokens, costs)


def running(number, prompt, place=0, **sampling):
    asked = request(number, prompt, max_tokens=30, **sampling)
    asked.place = place
    return asked


def test_it_drafts_what_the_model_draws_with_the_requests_seed():
    model, drafter = drafting()
    one, other = running(1, [5, 6, 7], seed=3), running(2, [9] * 5, place=1)
    other.tokens += [11, 12]
    drafts = drafter.draft([Wish(one, 3), Wish(other, 2)])
    assert drafts[0] == model.alone([5, 6, 7], 3, seed=3)
    position = len(other.tokens)
    assert drafts[1][0] == model.next(other.tokens, 0, position - 5)
    assert [len(draft) for draft in drafts] == [3, 2]
    assert model.steps == [[3, 7], [1, 1], [1]]


def test_only_what_the_cache_lacks_is_run_again():
    model, drafter = drafting()
    asked = running(1, [5, 6, 7])
    (first,) = drafter.draft([Wish(asked, 3)])
    asked.tokens += [*first, 50]  # all were kept, the last of which was not run
    model.steps.clear()
    (second,) = drafter.draft([Wish(asked, 2)])
    assert model.steps == [[2], [1]]
    asked.tokens += [second[0], 60]  # the second one was not kept
    model.steps.clear()
    (third,) = drafter.draft([Wish(asked, 1)])
    assert model.steps == [[1]]
    assert third == [model.next(asked.tokens, 0, len(asked.tokens) - 3)]


def test_a_long_text_is_run_over_several_calls_and_drafts_when_it_is_all_there():
    model, drafter = drafting(most_tokens=8)
    long, short = running(1, range(10, 30)), running(2, [5, 6], place=1)
    wishes = [Wish(long, 2), Wish(short, 2)]
    assert drafter.draft(wishes) == [[], []]
    assert drafter.draft(wishes) == [[], []]
    drafts = drafter.draft(wishes)
    assert [len(draft) for draft in drafts] == [2, 2]
    assert model.steps == [[8], [8], [4, 2], [1, 1]]
    assert drafts[0] == model.alone(range(10, 30), 2)


def test_a_text_without_blocks_has_no_drafts_and_blocks_come_back():
    _, drafter = drafting(blocks=4)
    one, other = running(1, [5] * 7), running(2, [6] * 7, place=1)
    assert [len(draft) for draft in drafter.draft([Wish(one, 2), Wish(other, 2)])] == [2, 0]
    drafter.forget(one.id)
    assert drafter.pool.available == 1 + 2
    assert [len(draft) for draft in drafter.draft([Wish(other, 2)])] == [2]
    drafter.forget(other.id)
    drafter.forget((0, 77))
    assert drafter.pool.available == drafter.pool.total


def test_its_seconds_are_a_share_of_a_step_for_all_answers():
    _, drafter = drafting()
    assert [drafter.seconds(answers) for answers in (1, 4)] == [1.0, 0.5]


@pytest.mark.parametrize("sampling", [{}, {"presence_penalty": 0.5}])
def test_over_the_same_model_every_drafted_token_is_kept(sampling):
    _, drafter = drafting(blocks=40)
    speculation = Speculation(drafter, Costs((1, 2), (10.0, 10.0)), 3)
    scheduler = make(blocks=40, speculation=speculation)
    target = StandIn(40, stop_every=10**9)
    asked = [request(n, [5, 6 + n], max_tokens=20, seed=n, **sampling) for n in range(3)]
    for one in asked:
        assert scheduler.submit(one) is None
    answers = {n: [] for n in range(3)}
    while not scheduler.idle:
        batch = scheduler.schedule()
        for item in scheduler.commit(batch, target.run(batch)):
            answers[item.request[1]].append(item.token)
        scheduler.check()
    assert answers == {n: target.alone([5, 6 + n], 20, n) for n in range(3)}
    assert speculation.accepted == speculation.drafted > 20
    assert drafter.pool.available == drafter.pool.total
