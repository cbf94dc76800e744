"""A provider for measuring: an OpenAI-compatible server that costs next to nothing and keeps its pace.

Every request, of either API, is answered with 60 tokens: the first after 50 ms, the others 5 ms apart. It prints its
port, then a line for each question ("asked") and for each connection that closes amid an answer ("closed"), with the
moment (`time.monotonic()`, the same for all processes of a machine).

    python -m benchmarks.llm_upstream
"""

import asyncio
import json
import sys
import time

FIRST_TOKEN_S, TOKEN_S, TOKENS = 0.05, 0.005, 60
WORD = " word"
"""Each token's text."""
MODEL = "bench"


def _chunk(event: object) -> bytes:
    data = b"data: " + (event if isinstance(event, bytes) else json.dumps(event).encode()) + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


def _chat_event(delta: dict[str, str], finish: str | None = None, **more: object) -> dict[str, object]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    head = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    return {**head, "choices": [choice], **more}


_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-store\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_CHAT_USAGE = {"prompt_tokens": 8, "completion_tokens": TOKENS, "total_tokens": 8 + TOKENS}
_ANSWERS = {
    "/v1/chat/completions": (
        _chunk(_chat_event({"content": WORD})),
        _chunk(_chat_event({}, "stop")) + _chunk({**_chat_event({}), "choices": [], "usage": _CHAT_USAGE}),
        _chunk(b"[DONE]"),
    ),
    "/v1/responses": (
        _chunk(
            {
                "type": "response.output_text.delta",
                "sequence_number": 5,
                "item_id": "msg_bench",
                "output_index": 0,
                "content_index": 0,
                "delta": WORD,
            }
        ),
        _chunk(
            {
                "type": "response.completed",
                "response": {"status": "completed", "usage": {"input_tokens": 8, "output_tokens": TOKENS}},
            }
        ),
        b"",
    ),
}
"""For each path: a token, and what ends the answer."""


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        if not separator or len(body) < length:
            return
        self._buffer = body[length:]
        path = head.split(b" ", 2)[1].decode()
        if path not in _ANSWERS:
            models = json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}).encode()
            self._transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (len(models), models)
            )
            return
        _tell("asked")
        self._transport.write(_HEAD)
        self._token, *self._end = _ANSWERS[path]
        self._sent, self._due = 0, self._loop.time() + FIRST_TOKEN_S
        self._timer = self._loop.call_at(self._due, self._send)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            _tell("closed")

    def _send(self) -> None:
        self._sent += 1
        if self._sent < TOKENS:
            self._transport.write(self._token)
            self._due += TOKEN_S
            self._timer = self._loop.call_at(self._due, self._send)
            return
        self._timer = None
        self._transport.write(self._token + b"".join(self._end) + b"0\r\n\r\n")


def _tell(what: str) -> None:
    sys.stdout.write(f"{what} {time.monotonic()}\n")
    sys.stdout.flush()


async def main() -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
