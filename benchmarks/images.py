"""What an image costs a turn: its first token with and without, and what leaves for the model.

The language model is the fake one without delay, so that a turn of text alone is the floor; the web server answers
after 50 ms. The same picture goes as bytes, as a URL, as a URL that was sent ahead (as an application does while the
user still speaks), and stays in the history of the turns after. All kinds take turns in one run.

    python -m benchmarks.images [--rounds 20] [--megapixels 12]
"""

import argparse
import asyncio
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from parley.common.v1 import chat_pb2
from parley.llm.v1 import conversation_service_pb2 as conversation_pb2
from parley.llm.v1 import conversation_service_pb2_grpc, llm_service_pb2, llm_service_pb2_grpc
from PIL import Image

from benchmarks.report import milliseconds, save, show
from tests.support.image_server import ImageServer, image_server, ok
from tests.support.servers import running

WEB_S = 0.05
FLAGS = ("--llm_backend", "fake", "--fake_answer", "{received}", "--llm_is_vlm", "--image_allow_http")
Part = chat_pb2.Image | str


def photo(megapixels: float) -> bytes:
    """A JPEG as heavy as a phone's: noise, made large."""
    width = int((megapixels * 1e6 * 4 / 3) ** 0.5)
    file = io.BytesIO()
    picture = Image.effect_noise((width // 8, width * 3 // 32), 60).resize((width, width * 3 // 4))
    picture.convert("RGB").save(file, "JPEG", quality=90)
    return file.getvalue()


class Client:
    """Turns on a service, timed."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._models: Any = llm_service_pb2_grpc.LanguageModelServiceStub(channel)
        self._conversations: Any = conversation_service_pb2_grpc.ConversationServiceStub(channel)

    async def create(self) -> str:
        """A new conversation."""
        created = await self._conversations.CreateConversation(conversation_pb2.CreateConversationRequest())
        return str(created.conversation.id)

    async def send_ahead(self, ident: str, *parts: Part) -> None:
        """Add a message before the turn."""
        request = conversation_pb2.AppendMessagesRequest(conversation_id=ident, messages=[_message(*parts)])
        await self._conversations.AppendMessages(request)

    async def first_token_s(self, ident: str, *parts: Part) -> tuple[float, str]:
        """Seconds to the first token of a turn, and what the model got to see."""
        request = llm_service_pb2.GenerateRequest(
            conversation_id=ident, messages=[_message(*parts)], instructions="", enable_speech_segments=False
        )
        begun, first, seen = time.perf_counter(), 0.0, ""
        async for response in self._models.Generate(request):
            if response.HasField("text_delta"):
                first = first or time.perf_counter() - begun
                seen += response.text_delta.text
        return first, seen


def _message(*parts: Part) -> chat_pb2.Message:
    content = [
        chat_pb2.ContentPart(text=part) if isinstance(part, str) else chat_pb2.ContentPart(image=part) for part in parts
    ]
    return chat_pb2.Message(role=chat_pb2.ROLE_USER, content=content)


@asynccontextmanager
async def serving(data: bytes, side: int) -> AsyncIterator[tuple[Client, ImageServer]]:
    """A service that makes images as small as `side`, and the web server with the picture."""

    async def slowly(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(WEB_S)
        writer.write(ok(data))

    flags = (*FLAGS, "--image_allow_private_hosts", "--image_max_side", str(side))
    async with (
        image_server() as web,
        running("llm", *flags) as server,
        grpc.aio.insecure_channel(server.address, options=(("grpc.max_send_message_length", -1),)) as channel,
    ):
        web.answers["/photo"] = slowly
        yield Client(channel), web


async def measure(data: bytes, side: int, rounds: int) -> dict[str, Any]:
    """Every kind of turn, in turn; the first round warms up."""
    async with serving(data, side) as (client, web):
        url = chat_pb2.Image(url=f"http://127.0.0.1:{web.port}/photo")
        kinds: dict[str, Callable[[str], Awaitable[tuple[float, str]]]] = {
            "text alone": lambda ident: client.first_token_s(ident, "What is this?"),
            "image as bytes": lambda ident: client.first_token_s(ident, chat_pb2.Image(data=data), "What is this?"),
            "image at a URL": lambda ident: client.first_token_s(ident, url, "What is this?"),
        }

        async def after(ident: str, ahead: bool) -> tuple[float, str]:
            if ahead:
                await client.send_ahead(ident, url)
            else:
                await client.first_token_s(ident, url, "What is this?")
            return await client.first_token_s(ident, "And now?")

        kinds["URL sent ahead"] = lambda ident: after(ident, ahead=True)
        kinds["image in the history"] = lambda ident: after(ident, ahead=False)
        spans: dict[str, list[float]] = {kind: [] for kind in kinds}
        sent = ""
        for _ in range(rounds + 1):
            for kind, turn in kinds.items():
                first, seen = await turn(await client.create())
                spans[kind].append(first)
                sent = seen if kind == "image at a URL" else sent
    return {
        "side": side,
        "model_gets": sent.partition("[")[2].partition("]")[0],
        "first_token_ms": {kind: milliseconds(seconds[1:]) for kind, seconds in spans.items()},
    }


async def main() -> None:
    """Measure with images as they are, and made smaller."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--megapixels", type=float, default=12)
    args = parser.parse_args()
    data = photo(args.megapixels)
    figures = [await measure(data, side, args.rounds) for side in (0, 2048)]
    floor = figures[0]["first_token_ms"]["text alone"]["median"]
    rows = [
        [kind, *(f"{told['first_token_ms'][kind]['median']:.1f}" for told in figures)]
        + [f"{told['first_token_ms'][kind]['median'] / floor:.1f}" for told in figures]
        for kind in figures[0]["first_token_ms"]
    ]
    rows.append(["the model gets", *(told["model_gets"] for told in figures), "", ""])
    columns = ["ms to the first token, median", "as it is", "2048 pixels", "to text alone", "to text alone"]
    show(f"a JPEG of {args.megapixels:g} megapixels, {len(data)} bytes; web server answers after 50 ms", columns, rows)
    save("images", {"bytes": len(data), "megapixels": args.megapixels, "rounds": args.rounds, "figures": figures})


if __name__ == "__main__":
    asyncio.run(main())
