"""Server-sent events from bytes in any chunking."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.llm.backends.api import sse
from services.llm.backends.api.sse import EventTooLongError, SseDecoder


def decoded(*chunks: bytes) -> list[bytes]:
    decoder = SseDecoder()
    return [data for chunk in chunks for data in decoder.feed(chunk)] + decoder.finish()


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data:a\r\n\r\ndata: b\r\r", [b"a", b"b"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b": comment\n\n:\n\ndata: a\n\n", [b"a"]),
        (b"event: x\nid: 1\nretry: 2\ndata: a\n\n", [b"a"]),
        (b"event: x\n\n", []),
        (b"data: a", [b"a"]),
        (b"data: a\r", [b"a"]),
        (b"data:\n\n", [b""]),
        (b"data:  a \n\n", [b" a "]),
        (b"database: a\n\n", []),
        (b"", []),
    ],
)
def test_events_are_their_data(stream: bytes, events: list[bytes]) -> None:
    assert decoded(stream) == events
    assert decoded(*(bytes((byte,)) for byte in stream)) == events


@given(
    st.lists(st.lists(st.binary(max_size=6).filter(lambda data: not {10, 13} & set(data)), min_size=1, max_size=2)),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.lists(st.integers(0, 200)),
)
def test_edge_21_no_chunking_changes_an_event(events: list[list[bytes]], newline: bytes, cuts: list[int]) -> None:
    stream = b"".join(
        b"".join(b"data: " + line + newline for line in lines) + b": ping" + newline + newline for lines in events
    )
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    chunks = [stream[begin:end] for begin, end in itertools.pairwise(places)]
    assert decoded(*chunks) == [b"\n".join(lines) for lines in events]


def test_a_stream_without_events_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "_LONGEST_EVENT", 100)
    decoder = SseDecoder()
    decoder.feed(b"x" * 100)
    with pytest.raises(EventTooLongError):
        decoder.feed(b"x")
