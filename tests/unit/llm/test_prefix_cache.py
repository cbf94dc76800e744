"""What is kept of contexts that a model has read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.llm.backends.prefix_cache import Hit, PrefixCache


def cache(limit: int = 100) -> PrefixCache[str]:
    return PrefixCache(limit)


def test_a_context_that_goes_on_takes_the_state_out() -> None:
    kept = cache()
    kept.keep([1, 2, 3], "abc", 3, cuttable=True)
    hit = kept.find([1, 2, 3, 4])
    assert hit == Hit("abc", (1, 2, 3), 3)
    assert hit.whole
    assert kept.find([1, 2, 3, 4]) is None
    assert (len(kept), kept.size) == (0, 0)


def test_a_context_that_branches_off_leaves_the_state_for_others() -> None:
    kept = cache()
    kept.keep([1, 2, 3], "abc", 3, cuttable=True)
    hit = kept.find([1, 2, 9, 9])
    assert hit == Hit("abc", (1, 2, 3), 2)
    assert not hit.whole
    assert len(kept) == 1


def test_the_last_token_is_always_left_to_read() -> None:
    kept = cache()
    kept.keep([1, 2, 3], "abc", 3, cuttable=True)
    assert kept.find([1, 2, 3]) == Hit("abc", (1, 2, 3), 2)
    assert kept.find([1]) is None


def test_the_longest_beginning_wins() -> None:
    kept = cache()
    kept.keep([1, 2, 8], "a", 3, cuttable=True)
    kept.keep([1, 2, 3, 9], "b", 3, cuttable=True)
    kept.keep([1, 7], "c", 3, cuttable=True)
    hit = kept.find([1, 2, 3, 4, 5])
    assert hit is not None
    assert (hit.state, hit.shared) == ("b", 3)


def test_a_state_that_cannot_be_cut_is_continued_whole_or_not_at_all() -> None:
    kept = cache()
    kept.keep([1, 2, 3], "abc", 3, cuttable=False)
    assert kept.find([1, 2, 9]) is None
    assert kept.find([1, 2, 3]) is None
    assert kept.find([1, 2, 3, 9]) == Hit("abc", (1, 2, 3), 3)


def test_a_longer_state_replaces_those_that_it_begins_with() -> None:
    kept = cache()
    kept.keep([1], "a", 1, cuttable=True)
    kept.keep([1, 2], "ab", 2, cuttable=True)
    kept.keep([1, 2], "again", 2, cuttable=True)
    assert (len(kept), kept.size) == (1, 2)


def test_the_least_recently_used_goes_first() -> None:
    kept = cache(limit=3)
    for token in (1, 2, 3):
        kept.keep([token, 0], str(token), 1, cuttable=True)
    assert kept.find([1, 9]) is not None  # used, and left
    kept.keep([4, 0], "4", 1, cuttable=True)
    assert kept.find([2, 9]) is None
    assert [hit.state for token in (1, 3, 4) if (hit := kept.find([token, 9]))] == ["1", "3", "4"]


@pytest.mark.parametrize("limit", [0, 2])
def test_what_is_larger_than_the_limit_is_not_kept(limit: int) -> None:
    kept = cache(limit)
    kept.keep([5], "small", limit, cuttable=True) if limit else None
    kept.keep([1, 2], "large", 3, cuttable=True)
    assert kept.size == limit


contexts = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), max_size=12)


@given(contexts, st.lists(st.integers(0, 2), min_size=1, max_size=8), st.integers(0, 30))
def test_whatever_is_kept_the_limit_holds_and_a_hit_is_a_true_beginning(
    known: list[list[int]], wanted: list[int], limit: int
) -> None:
    kept: PrefixCache[tuple[int, ...]] = PrefixCache(limit)
    for tokens in known:
        kept.keep(tokens, tuple(tokens), len(tokens), cuttable=True)
        assert kept.size <= limit
    hit = kept.find(wanted)
    if hit is not None:
        assert hit.state == hit.tokens
        assert 0 < hit.shared < len(wanted)
        assert list(hit.tokens[: hit.shared]) == wanted[: hit.shared]
    elif limit == 30 and sum(map(len, known)) <= limit:
        assert all(tokens[0] != wanted[0] for tokens in known) or len(wanted) == 1
