"""Images through the service as a process: in turns, in conversations, and refused."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import pytest_asyncio
from parley.common.v1 import chat_pb2
from parley.llm.v1 import conversation_service_pb2 as conversation_pb2
from parley.llm.v1 import conversation_service_pb2_grpc, llm_service_pb2, llm_service_pb2_grpc

from services.common.errors import ParleyError
from services.common.status import from_rpc_error
from tests.support.image_server import ImageServer, image_server, ok
from tests.support.pictures import picture
from tests.support.servers import server

pytestmark = pytest.mark.asyncio(loop_scope="module")

PICTURE = picture("JPEG")
SEEN = f"[image/jpeg of {len(PICTURE)} bytes]"


@dataclass
class Client:
    """A client of the service, and the web server with its images."""

    web: ImageServer
    models: Any
    conversations: Any

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.web.port}{path}"

    async def ask(self, *images: chat_pb2.Image, ident: str = "", text: str = "Look.") -> str:
        request = llm_service_pb2.GenerateRequest(
            messages=[message(*images, text=text)], conversation_id=ident, instructions=""
        )
        return "".join([response.text_delta.text async for response in self.models.Generate(request)])

    async def create(self) -> str:
        created = await self.conversations.CreateConversation(conversation_pb2.CreateConversationRequest())
        return created.conversation.id


def message(*images: chat_pb2.Image, text: str = "Look.") -> chat_pb2.Message:
    parts = [chat_pb2.ContentPart(image=image) for image in images]
    return chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[*parts, chat_pb2.ContentPart(text=text)])


async def refused(call: Any) -> ParleyError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return from_rpc_error(caught.value)


ECHO = ("--llm_backend", "fake", "--fake_answer", "{received}")
OPEN = ("--llm_is_vlm", "--image_allow_http", "--image_allow_private_hosts", "--image_max_per_request", "2")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client() -> AsyncIterator[Client]:
    async with (
        image_server() as web,
        server("llm", *ECHO, *OPEN) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        web.answers["/a.jpg"] = ok(PICTURE, "Content-Type: text/plain")
        yield Client(
            web,
            llm_service_pb2_grpc.LanguageModelServiceStub(channel),
            conversation_service_pb2_grpc.ConversationServiceStub(channel),
        )


async def test_bytes_and_urls_reach_the_model_as_bytes(client: Client) -> None:
    received = await client.ask(chat_pb2.Image(data=PICTURE), chat_pb2.Image(url=client.url("/a.jpg")))
    assert received == f"user: {SEEN} {SEEN} Look."


async def test_a_url_is_fetched_once_and_the_history_keeps_what_was_sent(client: Client) -> None:
    client.web.requests.clear()
    ident = await client.create()
    url = client.url("/a.jpg")
    await client.ask(chat_pb2.Image(url=url), ident=ident)
    for _ in range(2):
        assert f"user: {SEEN} Look. | assistant" in await client.ask(ident=ident, text="And now?")
    assert client.web.paths == ["/a.jpg"]
    known = await client.conversations.GetConversation(conversation_pb2.GetConversationRequest(conversation_id=ident))
    assert known.conversation.messages[0].content[0].image == chat_pb2.Image(url=url)


async def test_an_image_sent_ahead_is_ready_when_the_turn_comes(client: Client) -> None:
    client.web.requests.clear()
    ident = await client.create()
    await client.conversations.AppendMessages(
        conversation_pb2.AppendMessagesRequest(
            conversation_id=ident, messages=[message(chat_pb2.Image(url=client.url("/a.jpg")))]
        )
    )
    assert client.web.paths == ["/a.jpg"]
    assert SEEN in await client.ask(ident=ident)
    assert client.web.paths == ["/a.jpg"]


async def test_an_image_that_cannot_be_had_leaves_no_trace(client: Client) -> None:
    ident = await client.create()
    client.web.answers["/b.jpg"] = ok(b"<html>not found</html>")
    error = await refused(client.ask(chat_pb2.Image(url=client.url("/b.jpg")), ident=ident))
    assert (error.field, error.message) == (
        "messages[0].content[0].image.url",
        "is no JPEG, PNG, WebP or GIF",
    )
    append = conversation_pb2.AppendMessagesRequest(
        conversation_id=ident, messages=[message(), message(chat_pb2.Image(data=b"x"))]
    )
    error = await refused(client.conversations.AppendMessages(append))
    assert error.field == "messages[1].content[0].image.data"
    known = await client.conversations.GetConversation(conversation_pb2.GetConversationRequest(conversation_id=ident))
    assert not known.conversation.messages


async def test_a_history_from_elsewhere_is_taken_whatever_became_of_its_images(client: Client) -> None:
    client.web.answers["/gone"] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    gone, answer = chat_pb2.Image(url=client.url("/gone")), chat_pb2.ContentPart(text="I see.")
    history = [message(*[gone] * 3), chat_pb2.Message(role=chat_pb2.ROLE_ASSISTANT, content=[answer])]
    create = conversation_pb2.CreateConversationRequest(messages=history)
    created = await client.conversations.CreateConversation(create)
    received = await client.ask(ident=created.conversation.id, text="And now?")
    assert received.startswith("user: [an earlier image]\n[an image that is no longer there]\n[an image that")
    bad = conversation_pb2.CreateConversationRequest(messages=[*history, message(gone)])
    error = await refused(client.conversations.CreateConversation(bad))
    assert error.field == "messages[2].content[0].image.url"


async def test_one_image_too_many_is_refused(client: Client) -> None:
    error = await refused(client.ask(*[chat_pb2.Image(data=PICTURE)] * 3))
    assert error.field == "messages[0].content[2].image"


async def test_without_flags_a_loopback_url_is_refused_and_a_text_model_takes_no_image_at_all() -> None:
    for flags, words in ((("--llm_is_vlm",), "is no https URL"), ((), "this model takes no images")):
        async with server("llm", *ECHO, *flags) as address, grpc.aio.insecure_channel(address) as channel:
            made = Client(ImageServer(), llm_service_pb2_grpc.LanguageModelServiceStub(channel), None)
            error = await refused(made.ask(chat_pb2.Image(url="http://127.0.0.1:9/a.jpg")))
            assert words in error.message
            assert error.field.startswith("messages[0].content[0].image")
