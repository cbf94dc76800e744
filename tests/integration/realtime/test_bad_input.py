"""What clients of the bridge get wrong: a clear error, and the session lives on."""

import asyncio
import base64
import json
import socket
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.realtime import Realtime, realtime, realtime_port
from tests.support.servers import RunningServer
from tests.support.stack import fake_stack

pytestmark = pytest.mark.asyncio(loop_scope="package")
MESSAGE = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}


def update(**session: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": {"type": "realtime", **session}}


async def lives(client: Realtime) -> None:
    """The session answers."""
    await client.send("session.update", session={"type": "realtime", "output_modalities": ["text"]})
    await client.until("session.updated")
    await client.write_text("hello")
    assert (await client.until("response.done"))["response"]["status"] == "completed"


@pytest.mark.parametrize(
    ("frame", "words", "param"),
    [
        ("{not json", "not JSON", None),
        ("[1, 2]", "not a JSON object", None),
        (b"\x00\x01", "base64", None),
        ({"type": "session.unknown"}, "is unknown; one of session.update", "type"),
        ({"no": "type"}, "is missing", "type"),
        ({"type": "input_audio_buffer.append", "audio": "*not base64*"}, "is not base64", "audio"),
        ({"type": "input_audio_buffer.append", "audio": 7}, "string", "audio"),
        ({"type": "input_audio_buffer.append"}, "required", "audio"),
        ({"type": "input_audio_buffer.commit"}, "no audio", "input_audio_buffer"),
        (update(voice="alloy"), "not a known parameter", "session.voice"),
        (update(audio={"input": {"format": {"type": "audio/wav"}}}), "audio/pcm", "session.audio.input.format"),
        (
            update(audio={"output": {"format": {"type": "audio/pcm", "rate": 7}}}),
            "7 is outside",
            "session.audio.output.format.sample_rate_hertz",
        ),
        (update(audio={"output": {"voice": "nobody"}}), "no such name", "session.audio.output.voice"),
        (update(model="nobody"), "no such name", "session.model"),
        (update(output_modalities=["video"]), "'audio' or 'text'", "session.output_modalities[0]"),
        (update(tool_choice={"type": "function", "name": "f"}), "no such function", "session.tool_choice"),
        (update(tools=[{"type": "mcp", "server_label": "x"}]), "function", "session.tools[0].type"),
        (
            update(audio={"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 1}}}),
            "greater than or equal to 100",
            "session.audio.input.turn_detection.silence_duration_ms",
        ),
        ({"type": "response.cancel"}, "no such response is running", "response_id"),
        ({"type": "response.create", "response": {"conversation": "none"}}, "'auto'", "response.conversation"),
        ({"type": "conversation.item.retrieve", "item_id": "x"}, "no such item", "item_id"),
        ({"type": "conversation.item.delete", "item_id": "x"}, "no such item", "item_id"),
        ({"type": "conversation.item.truncate", "item_id": "x", "audio_end_ms": 0}, "no such item", "item_id"),
        ({"type": "conversation.item.create", "item": MESSAGE, "previous_item_id": "x"}, "end", "previous_item_id"),
        (
            {"type": "conversation.item.create", "item": {**MESSAGE, "content": [{"type": "input_video"}]}},
            "input_text",
            "item.content[0]",
        ),
        (
            {"type": "conversation.item.create", "item": {**MESSAGE, "content": [{"type": "input_text"}]}},
            "required",
            "item.content[0].text",
        ),
    ],
)
async def test_an_event_that_is_wrong_is_named(
    orchestrator: RunningServer, frame: Any, words: str, param: str | None
) -> None:
    async with realtime(orchestrator) as client:
        if isinstance(frame, dict):
            frame = json.dumps({"event_id": "mine", **frame})
        await client.socket.send(frame)
        error = (await client.until("error"))["error"]
        assert words in error["message"]
        assert error["type"] == "invalid_request_error"
        assert error["param"] == param
        assert error["event_id"] == ("mine" if isinstance(frame, str) and "mine" in frame else None)
        assert "pydantic" not in error["message"]
        await client.send("conversation.item.create", item=MESSAGE)
        await client.until("conversation.item.done")


@pytest.mark.parametrize(("frame", "code"), [(b"\xff", 1007), (b"x" * (8 << 20) + b"x", 1009)])
async def test_a_frame_that_breaks_the_rules_closes_with_its_code_though_more_is_sent(
    orchestrator: RunningServer, frame: bytes, code: int
) -> None:
    async with realtime(orchestrator) as client:
        with pytest.raises(ConnectionClosed) as closed:
            await _send_thrice(client, frame)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == code


async def _send_thrice(client: Realtime, frame: bytes) -> None:
    for _ in range(3):
        await client.socket.send(frame, text=True)
    await client.until("never")


async def test_an_output_of_an_unknown_function_is_an_error_and_the_session_answers(
    orchestrator: RunningServer,
) -> None:
    async with realtime(orchestrator) as client:
        output = {"type": "function_call_output", "call_id": "x", "output": "1"}
        await client.send("conversation.item.create", event_id="mine", item=output)
        error = (await client.until("error"))["error"]
        assert (error["event_id"], error["param"]) == ("mine", "item.role")
        await lives(client)


async def test_edge_29_a_wav_file_is_refused_as_audio_and_the_session_answers(orchestrator: RunningServer) -> None:
    async with realtime(orchestrator) as client:
        await client.append(b"RIFF" + bytes(9_600))
        error = (await client.until("error"))["error"]
        assert "looks like a WAV file" in error["message"]
        await lives(client)


async def test_a_second_client_takes_its_conversation_over_and_the_first_is_told(orchestrator: RunningServer) -> None:
    async with realtime(orchestrator) as first:
        conversation_id = first.events[-1]["conversation"]["id"]
        async with realtime(orchestrator, f"?conversation_id={conversation_id}") as second:
            error = (await first.until("error"))["error"]
            assert error["code"] == "conversation_busy"
            assert "goes on in another session" in error["message"]
            with pytest.raises(ConnectionClosed) as closed:
                await first.until("never")
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
            await lives(second)


async def test_a_conversation_that_is_unknown_is_told_before_the_socket_closes(orchestrator: RunningServer) -> None:
    async with realtime(orchestrator, "?conversation_id=nobody", until=["error"]) as client:
        error = client.events[0]["error"]
        assert (error["code"], error["param"]) == ("conversation_not_found", "conversation_id")
        with pytest.raises(ConnectionClosed) as closed:
            await client.until("never")
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


async def test_a_page_of_another_site_may_not_connect(orchestrator: RunningServer) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with realtime(orchestrator, origin="https://elsewhere.example"):
            pass
    assert refused.value.response.status_code == 403
    async with realtime(orchestrator, origin=f"http://127.0.0.1:{realtime_port(orchestrator)}"):
        pass


async def test_a_browsers_subprotocols_are_answered(orchestrator: RunningServer) -> None:
    offers = ["realtime", "openai-insecure-api-key.none", "openai-beta.realtime-v1"]
    async with realtime(orchestrator, subprotocols=offers) as client:
        assert client.socket.subprotocol == "realtime"


async def test_one_too_many_is_refused_at_the_handshake_an_idle_one_is_told_why_it_ends() -> None:
    limits = ("--realtime_port=0", "--max_sessions=1", "--session_idle_timeout_s=2")
    async with fake_stack(orchestrator=limits) as stack, realtime(stack["orchestrator"]) as client:
        with pytest.raises(InvalidStatus) as refused:
            async with realtime(stack["orchestrator"]):
                pass
        assert refused.value.response.status_code == 429
        assert int(refused.value.response.headers["Retry-After"]) > 0
        error = (await client.until("error"))["error"]
        assert (error["code"], error["type"]) == ("overloaded", "server_error")
        assert "nothing was said for 2 s" in error["message"]
        with pytest.raises(ConnectionClosed) as closed:
            await client.until("never")
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013


async def test_edge_19_a_client_that_stops_reading_gives_its_place_back() -> None:
    limits = ("--realtime_port=0", "--max_sessions=1", "--client_read_timeout_s=0.5")
    async with fake_stack(orchestrator=limits) as stack:
        server = stack["orchestrator"]
        url = f"ws://127.0.0.1:{realtime_port(server)}/v1/realtime"
        narrow = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.connect(("127.0.0.1", realtime_port(server)))
        async with connect(url, sock=narrow, max_queue=1, close_timeout=0) as client:
            item = {**MESSAGE, "content": [{"type": "input_text", "text": "x" * 1_000_000}], "id": "long"}
            await client.send(json.dumps({"type": "conversation.item.create", "item": item}))
            sending = asyncio.create_task(_ask(client))
            while "client does not read" not in [entry["message"] for entry in server.logs]:
                await asyncio.sleep(0)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            while not await _opens(server):
                continue


async def _ask(client: Any) -> None:
    """Ask for more than fits on the way, and read nothing of it."""
    for _ in range(40):
        await client.send(json.dumps({"type": "conversation.item.retrieve", "item_id": "long"}))
    audio = base64.b64encode(bytes(4800)).decode()
    while True:
        await client.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))


async def _opens(server: RunningServer) -> bool:
    try:
        async with realtime(server):
            return True
    except InvalidStatus:
        return False


async def test_a_server_that_shuts_down_finishes_what_is_said_and_says_so() -> None:
    async with fake_stack(orchestrator=("--realtime_port=0", "--drain_grace_s=0.5")) as stack:
        server = stack["orchestrator"]
        async with realtime(server) as client:
            server.process.terminate()
            error = (await client.until("error"))["error"]
            assert error["code"] == "server_draining"
            with pytest.raises(ConnectionClosed) as closed:
                await client.until("never")
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        assert await server.process.wait() == 0
