"""Server-sent events: from bytes, however they are cut, to the data of each event. Pure.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

_LONGEST_EVENT = 16 << 20
"""Bytes. No answer of a language model has an event so long; what does is no event stream."""


class EventTooLongError(Exception):
    """The stream goes on and on without the end of an event."""


class SseDecoder:
    """Takes the bytes of a stream apart. Names, ids and comments of events are left out: the data says what it is."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the events that end in this chunk.

        Raises:
            EventTooLongError: what would have to be kept grows without end.
        """
        text = self._rest + chunk if self._rest else chunk
        if b"\r" in text:
            # A lone CR ends a line too; one at the end of the chunk may be half of a CRLF.
            held = b"\r" if text.endswith(b"\r") else b""
            text = text.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n") + held
        *lines, self._rest = text.split(b"\n")
        if len(self._rest) > _LONGEST_EVENT:
            raise EventTooLongError
        return self._take(lines)

    def finish(self) -> list[bytes]:
        """The data of a last event that the server did not end with an empty line."""
        rest, self._rest = self._rest.removesuffix(b"\r"), b""
        return self._take([rest, b""])

    def _take(self, lines: list[bytes]) -> list[bytes]:
        events: list[bytes] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
            elif not line and self._data:
                events.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                self._data.clear()
        return events
