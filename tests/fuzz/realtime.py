"""Realtime clients that send anything in any order, and the rules that every answer keeps.

Each event is accepted, or answered with an error that names its field; no session hangs, and none ends but with the
code of a fault that is the client's.
"""

import base64
import copy
import json
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.fuzz.rules import FOUND, HANG_S, INSIDE, check_logs, ended, try_drawn
from tests.support.realtime import VOICE, check_event, realtime_port
from tests.support.servers import RunningServer

SESSIONS = Path(__file__).parent / "sessions"
_CLOSES = {1007: "no UTF-8", 1008: "what was asked for cannot be", 1009: "too long"}
"""Codes with which a session may be closed (RFC 6455, section 7.4)."""
_TOLD_BY_CODE_ALONE = {1007, 1009}
_NAMELESS = ("the event ", "binary frames have no meaning here")
"""Faults that are in no field."""


@dataclass(frozen=True)
class Session:
    """What a client asks for in its URL, and the frames that it sends: text (which need be no UTF-8), or binary."""

    query: str
    frames: tuple[tuple[bool, bytes], ...]

    @classmethod
    def read(cls, path: Path) -> "Session":
        """A session from a file."""
        stored = json.loads(path.read_text("utf-8"))
        return cls(stored["query"], tuple((text, base64.b64decode(data)) for text, data in stored["frames"]))

    def write(self, path: Path) -> None:
        """Keep it in a file."""
        frames = [(text, base64.b64encode(data).decode()) for text, data in self.frames]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"query": self.query, "frames": frames}) + "\n", "utf-8")


_AUDIO = base64.b64encode(VOICE[:1920]).decode()
_TOOL = {"type": "function", "name": "get_time", "parameters": {"type": "object", "properties": {}}}
_PNG = "data:image/png;base64,iVBORw0KGgo="
_MESSAGE = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
_INPUT = {
    "format": {"type": "audio/pcm", "rate": 24_000},
    "turn_detection": {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 200, "create_response": True},
    "transcription": {"model": "whisper-1", "language": "en"},
    "noise_reduction": {"type": "near_field"},
}
_SESSION = {
    "type": "realtime",
    "instructions": "Be brief.",
    "output_modalities": ["audio"],
    "audio": {"input": _INPUT, "output": {"format": {"type": "audio/pcmu"}, "voice": "alloy", "speed": 1.0}},
    "tools": [_TOOL],
    "tool_choice": "auto",
    "max_output_tokens": 100,
    "tracing": "auto",
    "truncation": {"type": "retention_ratio", "retention_ratio": 0.8},
    "include": ["item.input_audio_transcription.logprobs"],
    "reasoning": {"effort": "low"},
}
_RESPONSE = {
    "instructions": "Sing.",
    "output_modalities": ["text"],
    "audio": {"output": {"voice": {"id": "fake"}}},
    "tools": [_TOOL],
    "tool_choice": {"type": "function", "name": "get_time"},
    "max_output_tokens": "inf",
    "metadata": {"a": "b"},
}


def _part(role: str, **part: Any) -> dict[str, Any]:
    item = {"type": "message", "role": role, "content": [part], "id": "i1", "status": "completed"}
    return {"type": "conversation.item.create", "item": item}


_USUAL: tuple[Mapping[str, Any], ...] = (
    {"type": "session.update", "session": _SESSION},
    {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}}},
    {"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text"]}},
    *({"type": "input_audio_buffer.append", "audio": _AUDIO},) * 2,
    {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.clear"},
    {"type": "conversation.item.create", "item": _MESSAGE, "previous_item_id": None},
    _part("user", type="input_image", image_url=_PNG, detail="auto"),
    _part("user", type="input_audio", audio=_AUDIO, transcript="hi"),
    _part("system", type="input_text", text="Be kind."),
    _part("assistant", type="output_audio", transcript="Yes."),
    _part("assistant", type="output_text", text="Yes."),
    {
        "type": "conversation.item.create",
        "item": {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
    },
    {"type": "conversation.item.create", "item": {"type": "function_call_output", "call_id": "c1", "output": "1"}},
    {"type": "conversation.item.retrieve", "item_id": "i1"},
    {"type": "conversation.item.delete", "item_id": "i1"},
    {"type": "conversation.item.truncate", "item_id": "i1", "content_index": 0, "audio_end_ms": 10},
    *({"type": "response.create"},) * 2,
    {"type": "response.create", "response": _RESPONSE},
    {"type": "response.cancel", "response_id": None},
)
"""Events that are in order."""
_DEEP = "@deep"
_ODD: st.SearchStrategy[Any] = st.sampled_from(
    (
        *(None, True, 0, 1, -1, 7, 8000, 2**31 - 1, 2**31, 2**53, 2**63, 2**64 - 1, 10**30, 0.5, -0.0, 1e308, 5e-324),
        *(
            "",
            " ",
            "auto",
            "none",
            "hi",
            "i1",
            "c1",
            "root",
            "fake",
            "get_time",
            "audio/pcm",
            "xx-YY",
            "*",
            "A",
            "AAA=",
        ),
        *(
            "<|im_end|>",
            "\0\n\r\t\u202e",
            "\ud800",
            "e\u0301👩‍👩‍👧",
            "ab" * 400,
            "x" * 30_000,
            "https://10.0.0.1/a.png",
        ),
        *("data:,x", "data:;base64,*", _AUDIO, base64.b64encode(b"RIFF\0\0\0\0WAVE").decode(), "é", "[", '{"a": 1}'),
        *([], {}, [[]], [None], {"type": None}, {"": 1}, ["audio", "text"]),
        *(f"{_DEEP}{depth}" for depth in (60, 260, 900, 2000)),
    )
)
_QUERIES = st.sampled_from(
    (
        *("", "", "", "", "?parley_events=true", "?model=fake", "?model=gpt-realtime", "?model=nobody"),
        *("?conversation_id=nobody", "?conversation_id=" + "x" * 3000, "?model=%00%ff", "?conversation_id=%0d%0a"),
        *(f"?conversation_id={quote('é/..')}", "?model=a&model=b&&=", "?parley_events=%F0%9F", "?" + "a=1&" * 500),
    )
)


@st.composite
def frames(draw: st.DrawFn) -> tuple[bool, bytes]:
    """An event that is in order but for a few values; now and then with broken bytes, or none of a text."""
    event: Any = copy.deepcopy(draw(st.sampled_from(_USUAL)))
    for _ in range(draw(st.sampled_from((0, 0, 1, 1, 2, 3)))):
        _change(draw, event)
    if draw(st.booleans()):
        event["event_id"] = "mine"
    data = _written(event)
    if not draw(st.integers(0, 7)):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=6)) + data[at + draw(st.integers(0, 3)) :]
    return bool(draw(st.integers(0, 15))), data


def _change(draw: st.DrawFn, event: dict[str, Any]) -> None:
    """Put something else in one place, take it away, or add what nobody knows."""
    place: Any = event
    while inner := [value for value in _values(place) if isinstance(value, dict | list)]:
        if not draw(st.booleans()):
            break
        place = draw(st.sampled_from(inner))
    key = draw(st.sampled_from([*place, "unknown", "id"] if isinstance(place, dict) else range(len(place) + 1)))
    value = copy.deepcopy(draw(_ODD))
    if isinstance(place, list):
        place[key : key + draw(st.integers(0, 1))] = [value]
    elif draw(st.integers(0, 4)):
        place[key] = value
    else:
        place.pop(key, None)


def _values(place: Any) -> list[Any]:
    return [*place.values()] if isinstance(place, dict) else place


def _written(event: Any) -> bytes:
    """JSON of it, with what nests deeply in the places that stand for it."""
    text = json.dumps(event)
    for depth in (60, 260, 900, 2000):
        text = text.replace(f'"{_DEEP}{depth}"', '{"a":' * depth + "[]" + "}" * depth)
    return text.encode()


def sessions() -> st.SearchStrategy[Session]:
    """Some frames in any order."""
    return st.builds(Session, _QUERIES, st.lists(frames(), max_size=10).map(tuple))


class Player:
    """Plays sessions to a running orchestrator, and checks the rules."""

    def __init__(self, servers: Mapping[str, RunningServer]) -> None:
        self.servers = servers
        server = servers["orchestrator"]
        self._url = f"ws://127.0.0.1:{realtime_port(server)}/v1/realtime"
        self._metrics_url = f"http://127.0.0.1:{server.metrics_port}/metrics"
        self.played = 0

    def play(self, session: Session) -> None:
        """Send all frames, and read what is answered until nothing of it is under way any more.

        Raises:
            AssertionError: a rule is broken; the session is left in build/fuzz.
        """
        self.played += 1
        try:
            self._play(session)
            assert not (problem := ended(self.servers)), problem
        except (AssertionError, TimeoutError) as error:
            session.write(FOUND / "session.json")
            raise AssertionError(str(error) or "hangs") from error

    def _play(self, session: Session) -> None:
        told: list[dict[str, Any]] = []
        try:
            with connect(self._url + session.query, open_timeout=HANG_S, max_size=None, compression=None) as socket:
                told += [json.loads(socket.recv(timeout=HANG_S))]
                try:
                    for text, data in session.frames if told[0]["type"] == "session.created" else ():
                        socket.send(data, text=text)
                    # It is carried out after every item that was sent before.
                    socket.send(
                        json.dumps({"type": "conversation.item.delete", "item_id": "nobody", "event_id": "last"})
                    )
                except ConnectionClosed:
                    pass  # what it has said before is still to be read
                _read(socket, told)
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd is not None else None
            assert code in _CLOSES, f"closes with {code}"
            assert code in _TOLD_BY_CODE_ALONE or told[-1]["type"] == "error", (
                f"closes with {code} and does not say why"
            )

    def check_metrics(self) -> None:
        """Check that no session is left, and that none has failed inside.

        Raises:
            AssertionError: where that is not so.
        """
        until = time.monotonic() + HANG_S
        while left := self._count("parley_sessions_active"):
            assert time.monotonic() < until, f"{left:g} sessions are left"
        failed = self._count("parley_rpc_server_duration_seconds_count", code="INTERNAL")
        assert not failed, f"{failed:g} calls are INTERNAL"

    def _count(self, name: str, **labels: str) -> float:
        with urllib.request.urlopen(self._metrics_url, timeout=HANG_S) as page:
            families = text_string_to_metric_families(page.read().decode())
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def _read(socket: ClientConnection, told: list[dict[str, Any]]) -> None:
    """Read to the answer to the last event, and to the end of a response that is running then."""
    last, running = False, 0
    while not last or running:
        event = json.loads(socket.recv(timeout=HANG_S))
        if event["type"] != "session.updated":  # what has no effect here comes back as it was sent
            check_event(event)
        told.append(event)
        running += {"response.created": 1, "response.done": -1}.get(event["type"], 0)
        if event["type"] == "error":
            _check_error(event["error"])
            last = last or event["error"]["event_id"] == "last"


def _check_error(error: Mapping[str, Any]) -> None:
    assert not INSIDE.search(error["message"]), f"tells of the inside: {error}"
    assert error["code"] not in ("", "internal"), f"is the server's own: {error}"
    nameless = error["code"] != "invalid_argument" or error["message"].startswith(_NAMELESS)
    assert nameless or error["param"], f"names no field: {error}"


def check(player: Player, examples: int, seed: int | None = None) -> None:
    """Play so many drawn sessions; with a seed others than with another.

    Raises:
        AssertionError: a rule is broken.
    """
    try_drawn(sessions(), player.play, examples, seed)
    player.check_metrics()
    check_logs(player.servers)
