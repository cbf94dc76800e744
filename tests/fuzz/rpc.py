"""Calls of every method with hostile messages, in any order and any number, and the rules that every answer keeps."""

import base64
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from hypothesis import strategies as st
from parley.agent.v1 import agent_service_pb2
from parley.llm.v1 import conversation_service_pb2, llm_service_pb2
from parley.stt.v1 import stt_service_pb2
from parley.tts.v1 import tts_service_pb2

from tests.fuzz.rules import FOUND, HANG_S, INSIDE, check_logs, ended, try_drawn
from tests.support.servers import RunningServer

_MODULES = {
    "orchestrator": (agent_service_pb2,),
    "llm": (llm_service_pb2, conversation_service_pb2),
    "stt": (stt_service_pb2,),
    "tts": (tts_service_pb2,),
}
METHODS: Mapping[str, tuple[str, MethodDescriptor]] = {
    f"/{service.full_name}/{method.name}": (program, method)
    for program, modules in _MODULES.items()
    for module in modules
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
"""By its path: the program that serves it, and what it takes."""
CALLS = Path(__file__).parent / "calls"
_ALLOWED = {
    code
    for code in grpc.StatusCode
    if code.name not in ("UNKNOWN", "INTERNAL", "UNIMPLEMENTED", "DATA_LOSS", "DEADLINE_EXCEEDED", "CANCELLED")
}
_NO_MESSAGE = "the bytes are no message of this method"


@dataclass(frozen=True)
class Call:
    """A call of a method: the bytes of its messages, which need be none."""

    method: str
    messages: tuple[bytes, ...]

    @classmethod
    def read(cls, path: Path) -> "Call":
        """A call from a file."""
        stored = json.loads(path.read_text("utf-8"))
        return cls(stored["method"], tuple(map(base64.b64decode, stored["messages"])))

    def write(self, path: Path) -> None:
        """Keep it in a file."""
        encoded = [base64.b64encode(message).decode() for message in self.messages]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"method": self.method, "messages": encoded}) + "\n", "utf-8")


_TEXTS = st.sampled_from(
    (
        *("", " ", "hi", "c1", "c2", "get_time", "en", "auto", "xx-YY", "fake", "{}", "[", '{"type": "object"}'),
        *("<|im_end|>", "\0\n\r\t\u202e", "e\u0301👩‍👩‍👧", "ab" * 400, "[" * 5000, "https://10.0.0.1/a.png", "data:,x"),
    )
) | st.text(max_size=20)
_WHOLE = st.sampled_from((0, 1, 2, 7, 100, 8000, 16_000, 2**31 - 1))
_BYTES = st.sampled_from((b"", b"\0", bytes(641), b"\xff\x7f" * 800, b"RIFF\0\0\0\0WAVE")) | st.binary(max_size=64)
_FLOATS = st.sampled_from((0.0, 0.5, 1.0, -1.0, 1e300, math.inf, -math.inf, math.nan))
_VALUES: Mapping[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_INT32: _WHOLE.map(lambda value: value - 1),
    FieldDescriptor.CPPTYPE_INT64: st.sampled_from((0, 1, -1, 2**63 - 1, -(2**63))),
    FieldDescriptor.CPPTYPE_UINT32: _WHOLE | st.just(2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: _WHOLE | st.just(2**64 - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: _FLOATS,
    FieldDescriptor.CPPTYPE_FLOAT: _FLOATS,
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_ENUM: st.sampled_from((0, 1, 1, 2, 2, 3, 99, -1)),
}


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor, depth: int = 6) -> Any:
    """A message in which any field may have any value, or none."""
    message: Any = message_factory.GetMessageClass(descriptor)()
    for field in draw(st.lists(st.sampled_from(list(descriptor.fields)), max_size=8)) if descriptor.fields else ():
        _fill(draw, message, field, depth)
    return message


def _fill(draw: st.DrawFn, message: Any, field: FieldDescriptor, depth: int) -> None:
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        assert field.message_type is not None
        if depth and field.message_type.GetOptions().map_entry:
            key, value = (
                draw(_TEXTS),
                draw(messages(field.message_type.fields_by_name["value"].message_type, depth - 1)),
            )
            getattr(message, field.name)[key].CopyFrom(value)
        elif depth:
            inner = draw(messages(field.message_type, depth - 1))
            target = getattr(message, field.name)
            (target.add() if field.is_repeated else target).CopyFrom(inner)
        return
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        value: Any = draw(_BYTES if field.type == FieldDescriptor.TYPE_BYTES else _TEXTS)
    else:
        value = draw(_VALUES[field.cpp_type])
    if field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


_AUDIO_FORMAT = {"encoding": "AUDIO_ENCODING_PCM_S16LE", "sampleRateHertz": 16_000}
_SAID = {"role": "ROLE_USER", "content": [{"text": "hi"}]}
_TOOL = {"name": "get_time", "parametersJsonSchema": '{"type": "object"}'}
_SESSION = {"inputAudioFormat": _AUDIO_FORMAT, "tools": [_TOOL], "turnDetection": {"mode": "MODE_MANUAL"}}
_AUDIO = base64.b64encode(bytes(range(256)) * 25).decode()
_USUAL: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "CreateConversation": ({"conversationId": "c1", "config": {"chatSize": 3, "tools": {"tools": [_TOOL]}}},),
    "GetConversation": ({"conversationId": "c1"},),
    "AppendMessages": ({"conversationId": "c1", "messages": [_SAID]},),
    "DeleteMessages": ({"conversationId": "c1", "itemIds": ["hi"]},),
    "CommitResponse": ({"conversationId": "c1", "responseId": "hi"},),
    "DiscardResponse": ({"conversationId": "c1", "responseId": "hi"},),
    "DeleteConversation": ({"conversationId": "c1"},),
    "Generate": (
        {"messages": [_SAID], "enableSpeechSegments": True, "tools": {"tools": [_TOOL]}},
        {"conversationId": "c1", "messages": [_SAID], "commitPolicy": "COMMIT_POLICY_HELD"},
    ),
    "Prefill": ({"messages": [_SAID]}, {"conversationId": "c1", "messages": [_SAID]}),
    "Transcribe": ({"config": {"audioFormat": _AUDIO_FORMAT}, "audio": _AUDIO},),
    "StreamingTranscribe": (
        {"config": {"config": {"audioFormat": _AUDIO_FORMAT}}},
        {"audio": _AUDIO},
        {"forceEndOfUtterance": {}},
    ),
    "Synthesize": ({"text": "Hi there.", "audioFormat": _AUDIO_FORMAT},),
    "Converse": (
        {"sessionUpdate": {"session": _SESSION}},
        {"inputAudioBufferAppend": {"audio": _AUDIO}},
        {"inputAudioBufferCommit": {}},
        {"conversationItemCreate": {"item": {**_SAID, "itemId": "hi"}}},
        {"conversationItemCreate": {"item": {"role": "ROLE_TOOL", "toolCallId": "hi", "content": [{"text": "1"}]}}},
        {"responseCreate": {}},
        {"conversationItemTruncate": {"itemId": "hi", "audioEnd": "0.1s"}},
        {"conversationItemDelete": {"itemId": "hi"}},
        {"responseCancel": {}},
    ),
    "Respond": ({"text": "hi", "session": _SESSION}, {"audio": _AUDIO, "session": _SESSION, "history": [_SAID]}),
}
"""Messages that are in order, as JSON; the first of a stream's begins it."""


@st.composite
def changed(draw: st.DrawFn, method: MethodDescriptor, usual: Mapping[str, Any]) -> Any:
    """A message that is in order but for a few fields."""
    message: Any = json_format.ParseDict(usual, message_factory.GetMessageClass(method.input_type)())
    for _ in range(draw(st.sampled_from((0, 1, 1, 2, 3)))):
        place = message
        while inner := [value for _, values in place.ListFields() for value in _parts(values)]:
            if not draw(st.booleans()):
                break
            place = draw(st.sampled_from(inner))
        if place.DESCRIPTOR.fields:
            _fill(draw, place, draw(st.sampled_from(list(place.DESCRIPTOR.fields))), 3)
    return message


def _parts(value: Any) -> list[Any]:
    """The messages in the value of a field."""
    values = value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]
    return [part for part in values if isinstance(part, Message)]


@st.composite
def calls(draw: st.DrawFn) -> Call:
    """A call of any method: messages of its kind in any order, most of them nearly right, some with broken bytes."""
    path = draw(st.sampled_from(sorted(METHODS)))
    method = METHODS[path][1]
    usual = _USUAL.get(method.name, ({},))

    def one() -> bytes:
        kind = changed(method, draw(st.sampled_from(usual))) if draw(st.integers(0, 4)) else messages(method.input_type)
        return bytes(draw(kind).SerializeToString())

    if not method.client_streaming:
        drawn = [one()]
    else:
        drawn = [one() for _ in range(draw(st.integers(0, 8)))]
        if draw(st.integers(0, 4)):
            drawn.insert(0, draw(changed(method, usual[0])).SerializeToString())
    if drawn and not draw(st.integers(0, 5)):
        at = draw(st.integers(0, len(drawn) - 1))
        cut = draw(st.integers(0, len(drawn[at])))
        drawn[at] = drawn[at][:cut] + draw(st.binary(max_size=6)) + drawn[at][cut + draw(st.integers(0, 3)) :]
    return Call(path, tuple(drawn))


class Player:
    """Plays calls to running servers, and checks the rules."""

    def __init__(self, servers: Mapping[str, RunningServer]) -> None:
        self.servers = servers
        self._channels = {name: grpc.insecure_channel(server.address) for name, server in servers.items()}
        self.played = 0

    def close(self) -> None:
        """Close the channels."""
        for channel in self._channels.values():
            channel.close()

    def play(self, call: Call) -> None:
        """Make the call, and read its answer to the end.

        Raises:
            AssertionError: a rule is broken; the call is left in build/fuzz.
        """
        self.played += 1
        error = self._answer(call)
        if problem := ended(self.servers) or (_problem(error) if error is not None else ""):
            call.write(FOUND / "call.json")
            raise AssertionError(f"{call.method}: {problem}")

    def _answer(self, call: Call) -> Any:
        """How the call has failed; None where it has not."""
        program, method = METHODS[call.method]
        sides = ("stream" if streams else "unary" for streams in (method.client_streaming, method.server_streaming))
        invoke: Callable[..., Any] = getattr(self._channels[program], "_".join(sides))(call.method)
        sent = iter(call.messages) if method.client_streaming else call.messages[0]
        try:
            answer = invoke(sent, timeout=HANG_S)
            if isinstance(answer, Iterator):
                for _ in answer:
                    pass
        except grpc.RpcError as error:
            return error
        return None


def _problem(error: Any) -> str:
    """The rule that a status breaks, "" where it breaks none."""
    told = f"{error.code().name}: {error.details()}"
    if error.code() not in _ALLOWED:
        return told
    if INSIDE.search(error.details()):
        return f"tells of the inside: {told}"
    status = rpc_status.from_call(error)
    kinds = {detail.TypeName() for detail in status.details} if status else set()
    if error_details_pb2.ErrorInfo.DESCRIPTOR.full_name not in kinds:
        return f"says no reason: {told}"
    named = error_details_pb2.BadRequest.DESCRIPTOR.full_name in kinds or error.details() == _NO_MESSAGE
    return "" if named or error.code() is not grpc.StatusCode.INVALID_ARGUMENT else f"names no field: {told}"


def check(player: Player, examples: int, seed: int | None = None) -> None:
    """Play so many drawn calls; with a seed others than with another.

    Raises:
        AssertionError: a rule is broken.
    """
    try_drawn(calls(), player.play, examples, seed)
    check_logs(player.servers)
