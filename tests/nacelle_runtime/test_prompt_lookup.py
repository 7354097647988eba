"""Prompt lookup against a search through the whole text."""

import random

from scheduling import request

from nacelle_runtime.speculation.drafter import Wish
from nacelle_runtime.speculation.prompt_lookup import LONGEST, SHORTEST, Index, PromptLookup


def searched(tokens):
    """The longest ending that stood before, its newest place, the token after it."""
    for length in range(min(LONGEST, len(tokens)), SHORTEST - 1, -1):
        for place in range(len(tokens) - 1, length - 1, -1):
            if tokens[place - length : place] == tokens[len(tokens) - length :]:
                return place
    return None


def test_a_growing_text_is_searched_as_if_from_its_end():
    walk, found = random.Random(3), 0
    for letters in (2, 3, 6, 20):
        for _ in range(40):
            index, tokens = Index(), [walk.randrange(letters) for _ in range(walk.randrange(12))]
            for _ in range(30):
                place = index.find(tokens)
                assert place == searched(tokens)
                found += place is not None
                tokens += [walk.randrange(letters) for _ in range(walk.randrange(1, 5))]
    assert found > 2000


def test_a_draft_is_what_followed_the_longest_ending_the_newest_time():
    lookup = PromptLookup()
    one = request(1, [1, 2, 3, 4, 5, 9, 3, 4, 6, 7, 8, 9, 2, 3, 4])
    other = request(2, [1, 2, 3, 4])
    assert [lookup.promising(r) for r in (one, other)] == [True, False]
    # 2 3 4 stood once, before 5; 3 4 alone stood later too.
    assert lookup.draft([Wish(one, 3), Wish(other, 3)]) == [[5, 9, 3], []]
    one.tokens += [6]
    assert lookup.draft([Wish(one, 2)]) == [[7, 8]]


def test_a_draft_ends_with_the_text():
    lookup = PromptLookup()
    assert lookup.draft([Wish(request(1, [7, 8, 5, 7, 8]), 9)]) == [[5, 7, 8]]


def test_a_forgotten_number_may_come_again_with_another_text():
    lookup = PromptLookup()
    assert lookup.promising(request(1, [1, 2, 3, 1, 2]))
    lookup.forget((0, 1))
    assert not lookup.promising(request(1, [1, 2, 3, 4, 5]))
