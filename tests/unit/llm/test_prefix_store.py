"""Where keys and values lie: reuse, eviction by age, growing, and pieces that never overlap."""

from hypothesis import given, settings
from hypothesis import strategies as st

from services.llm.backends.batching.prefixes import GRAIN, Copy, PrefixStore, Span, shared_length


def finish(store: PrefixStore, tokens: list[int], room: int = 0) -> Span:
    """A sequence that came, computed all its tokens, and went."""
    lease = store.acquire(tokens, room or len(tokens), object())
    assert lease is not None
    lease.span.tokens = list(tokens)
    store.release(lease.span)
    return lease.span


def test_a_context_that_goes_on_takes_its_piece_over() -> None:
    store = PrefixStore(1024)
    span = finish(store, list(range(100)))
    lease = store.acquire([*range(100), 7, 8], 110, object())
    assert lease is not None
    assert (lease.span, lease.reused, lease.copies) == (span, 100, [])


def test_another_conversation_gets_a_copy_of_the_beginning_that_it_shares() -> None:
    store = PrefixStore(1024)
    first = finish(store, list(range(200)))
    lease = store.acquire([*range(100), *range(500, 510)], 120, object())
    assert lease is not None
    assert lease.span is not first
    assert lease.copies == [Copy(first.start, lease.span.start, 100)]
    assert first.tokens == list(range(200))


def test_a_conversation_does_not_lose_its_answer_to_another_while_there_is_room() -> None:
    store = PrefixStore(1024)
    first = finish(store, list(range(100)))
    lease = store.acquire([*range(60), 7, 8], 80, object())
    assert lease is not None
    assert lease.span is not first
    assert lease.reused == 60
    small = PrefixStore(2 * GRAIN)
    first = finish(small, list(range(100)))
    lease = small.acquire([*range(60), 7, 8], 80, object())
    assert lease is not None
    assert lease.span is first


def test_a_piece_in_use_is_copied_from_but_never_taken() -> None:
    store = PrefixStore(1024)
    first = store.acquire(list(range(50)), 60, object())
    assert first is not None
    first.span.tokens = list(range(50))
    second = store.acquire([*range(50), 1], 60, object())
    assert second is not None
    assert second.span is not first.span
    assert second.reused == 50


def test_the_last_token_is_always_left_to_compute() -> None:
    store = PrefixStore(1024)
    finish(store, list(range(100)))
    lease = store.acquire(list(range(100)), 100, object())
    assert lease is not None
    assert lease.reused == 99


def test_the_least_recently_used_goes_first() -> None:
    store = PrefixStore(4 * GRAIN)
    for number in range(4):
        finish(store, [1000 * number] * GRAIN)
    finish(store, [0] * GRAIN)  # used again
    finish(store, [9] * GRAIN)
    held = [store.longest([1000 * number] * GRAIN)[1] for number in range(4)]
    assert held == [GRAIN, 0, GRAIN, GRAIN]
    assert store.evicted == 1


def test_what_is_over_goes_at_once_where_nothing_is_kept() -> None:
    store = PrefixStore(1024, keep=False)
    finish(store, list(range(100)))
    assert store.held == 0


def test_growing_takes_the_room_behind_it_or_moves() -> None:
    store = PrefixStore(8 * GRAIN)
    first, second = store.acquire([1] * 10, 10, object()), store.acquire([2] * 10, 10, object())
    assert first is not None
    assert second is not None
    first.span.tokens = [1] * 10
    assert store.grow(second.span, 2 * GRAIN) == []
    start = first.span.start
    assert store.grow(first.span, 2 * GRAIN) == [Copy(start, first.span.start, 10)]
    assert first.span.start != start


def test_there_is_no_room_where_all_is_in_use() -> None:
    store = PrefixStore(2 * GRAIN)
    assert store.acquire([1] * GRAIN, 2 * GRAIN, object()) is not None
    assert store.acquire([2] * 5, 5, object()) is None


def test_a_piece_at_the_end_of_the_pool_gets_all_of_it_where_it_is_alone() -> None:
    store = PrefixStore(8 * GRAIN)
    first, last = store.acquire([1] * 10, 6 * GRAIN, object()), store.acquire([2] * 10, 2 * GRAIN, object())
    assert first is not None
    assert last is not None
    last.span.tokens = [2] * 10
    store.release(first.span)
    assert store.grow(last.span, 8 * GRAIN) == [Copy(6 * GRAIN, 0, 10)]
    store.release(last.span)
    again = store.acquire([2] * 11, 8 * GRAIN, object())
    assert again is not None
    assert again.reused == 10


def test_a_context_is_let_in_wherever_its_beginning_lies_when_nothing_else_is_at_work() -> None:
    store = PrefixStore(8 * GRAIN)
    first = store.acquire([1] * 10, 5 * GRAIN, object())
    second = store.acquire([2] * 100, 3 * GRAIN, object())
    assert first is not None
    assert second is not None
    second.span.tokens = [2] * 100
    store.release(first.span)
    store.release(second.span)
    lease = store.acquire([2] * 101, 7 * GRAIN, object())
    assert lease is not None


def test_scattered_room_is_brought_together() -> None:
    store = PrefixStore(6 * GRAIN)
    leases = [store.acquire([number] * 10, GRAIN, object()) for number in range(6)]
    for index, lease in enumerate(leases):
        assert lease is not None
        lease.span.tokens = [index] * 10
        if index % 2 == 0:
            store.drop(lease.span)
    wide = store.acquire([7] * 10, 3 * GRAIN, object())
    assert wide is not None
    assert wide.copies
    kept = [lease.span for index, lease in enumerate(leases) if lease and index % 2]
    assert sorted(span.start for span in (*kept, wide.span)) == [0, GRAIN, 2 * GRAIN, 3 * GRAIN]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(1, 300), st.sampled_from(["ask", "end", "grow"])),
        min_size=1,
        max_size=60,
    )
)
def test_the_pool_holds_what_the_books_say(steps: list[tuple[int, int, str]]) -> None:
    """Plays every copy on a real list: each piece holds its own tokens, and no two pieces overlap."""
    capacity = 1024
    store = PrefixStore(capacity)
    pool: list[int] = [-1] * capacity
    working: list[Span] = []

    def play(copies: list[Copy]) -> None:
        for copy in copies:
            pool[copy.target : copy.target + copy.count] = pool[copy.source : copy.source + copy.count]

    def compute(span: Span, tokens: list[int]) -> None:
        begin = span.start + len(span.tokens)
        pool[begin : begin + len(tokens)] = tokens
        span.tokens = span.tokens + tokens

    for kind, size, action in steps:
        if action == "ask":
            tokens = [kind] * (size // 2) + [kind, size] * (size // 4) + [size]
            lease = store.acquire(tokens, len(tokens), kind)
            if lease is not None:
                play(lease.copies)
                compute(lease.span, tokens[lease.reused :])
                working.append(lease.span)
        elif working and action == "end":
            store.release(working.pop(kind % len(working)))
        elif working:
            span = working[kind % len(working)]
            copies = store.grow(span, len(span.tokens) + size)
            if copies is not None:
                play(copies)
                compute(span, [size] * size)
        places: set[int] = set()
        for span in store._spans:
            assert span.end <= capacity
            assert places.isdisjoint(range(span.start, span.end))
            places.update(range(span.start, span.end))
            assert len(span.tokens) <= span.capacity
            assert pool[span.start : span.start + len(span.tokens)] == span.tokens


@given(st.lists(st.integers(0, 2), max_size=200), st.lists(st.integers(0, 2), max_size=200))
def test_shared_length(first: list[int], second: list[int]) -> None:
    shared = shared_length(first, second)
    assert first[:shared] == second[:shared]
    assert shared == min(len(first), len(second)) or first[shared] != second[shared]
