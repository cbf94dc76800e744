"""Images of a context: loaded once for a message, side by side, and kept within bounds."""

import asyncio
import sys
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.common.errors import InvalidArgumentError, OverloadedError
from services.llm.domain import ImagePart, Message, Role, TextPart
from services.llm.images.cache import ImageCache
from services.llm.images.images import EARLIER, LOST, Images
from services.llm.images.limits import ImageError, ImageLimits
from services.llm.images.metrics import ImageMetrics
from tests.support.pictures import movie, picture

LIMITS = ImageLimits(100_000, 1_000_000, 0, 3, 100_000, 5.0)
RED, BLUE = picture("PNG", colour="red"), picture("JPEG", colour="blue")
QUESTION = TextPart("What is this?")


class Web:
    """A fetcher that serves from a dictionary; an exception is raised, a future is waited for."""

    def __init__(self, **pages: Any) -> None:
        self.pages = pages
        self.fetched: list[str] = []

    async def fetch(self, url: str) -> bytes:
        self.fetched.append(url)
        page = self.pages[url]
        if isinstance(page, asyncio.Future):
            page = await page
        if isinstance(page, Exception):
            raise page
        return bytes(page)

    async def aclose(self) -> None:
        self.pages.clear()


def images(web: Web | None = None, **limits: int) -> Images:
    return Images(replace(LIMITS, **limits), web or Web())  # type: ignore[arg-type]


def user(*parts: str | bytes | TextPart, ident: str = "") -> Message:
    def part(given: str | bytes | TextPart) -> ImagePart | TextPart:
        if isinstance(given, TextPart):
            return given
        return ImagePart(url=given) if isinstance(given, str) else ImagePart(given)

    return Message(Role.USER, tuple(part(given) for given in parts), id=ident)


ANSWER = Message(Role.ASSISTANT, (TextPart("A square."),), id="answer")


def shown(messages: tuple[Message, ...]) -> list[Any]:
    return [part for message in messages for part in message.content if part != QUESTION and message is not ANSWER]


async def test_bytes_and_urls_become_bytes_with_a_type_and_the_rest_stays() -> None:
    made = images(Web(blue=BLUE))
    asked = (ANSWER, user(RED, QUESTION, "blue"))
    loaded = await made.load(asked)
    assert loaded[0] is ANSWER
    assert loaded[1].content == (
        ImagePart(RED, media_type="image/png"),
        QUESTION,
        ImagePart(BLUE, media_type="image/jpeg"),
    )
    assert loaded[1].content[0].data_url.startswith("data:image/png;base64,iVBOR")  # type: ignore[union-attr]


async def test_messages_without_images_are_the_same_object() -> None:
    messages = (ANSWER, user(QUESTION))
    assert await images().load(messages) is messages


async def test_images_are_fetched_side_by_side() -> None:
    loop = asyncio.get_running_loop()
    first, second = loop.create_future(), loop.create_future()
    web = Web(first=first, second=second)
    loading = asyncio.create_task(images(web).load((user("first", "second"),)))
    while len(web.fetched) < 2:
        await asyncio.sleep(0)
    second.set_result(BLUE)
    first.set_result(RED)
    assert [part.data for part in shown(await loading)] == [RED, BLUE]


async def test_an_image_is_fetched_once_for_its_message_however_many_turns_follow() -> None:
    web = Web(page=RED)
    made = images(web)
    history: tuple[Message, ...] = (user("page", QUESTION, ident="m1"),)
    for number in range(3):
        loaded = await made.load(history, new=1)
        assert shown(loaded)[0] == ImagePart(RED, media_type="image/png")
        history = (*history, ANSWER, user(QUESTION, ident=f"m{number + 2}"))
    assert web.fetched == ["page"]


async def test_a_new_message_with_the_same_url_shows_what_is_there_now() -> None:
    web = Web(camera=RED)
    made = images(web)
    await made.load((user("camera", ident="m1"),))
    web.pages["camera"] = BLUE
    loaded = await made.load((user("camera", ident="m1"), ANSWER, user("camera", ident="m2")), new=1)
    assert [part.data for part in shown(loaded)] == [RED, BLUE]


async def test_a_stateless_request_leaves_nothing_behind() -> None:
    web = Web(page=RED)
    made = images(web)
    for _ in range(2):
        await made.load((user("page"),))
    assert web.fetched == ["page", "page"]


async def test_the_first_frame_of_a_movie_is_kept_for_later_turns_too() -> None:
    made = images()
    first, second = [await made.load((user(movie("GIF"), ident="m1"),)) for _ in range(2)]
    assert first[0].content[0].media_type == "image/png"  # type: ignore[union-attr]
    assert first[0].content[0] is second[0].content[0]


@pytest.mark.parametrize(
    ("parts", "field", "words"),
    [
        ((QUESTION, "gone"), "messages[1].content[1].image.url", "answers 404"),
        ((b"text",), "messages[1].content[0].image.data", "no JPEG"),
        ((QUESTION, "text"), "messages[1].content[1].image.url", "no JPEG"),
        ((RED, RED, RED, RED), "messages[1].content[3].image", "one too many"),
    ],
)
async def test_an_image_of_the_request_that_cannot_be_used_fails_it_by_its_field(
    parts: tuple[Any, ...], field: str, words: str
) -> None:
    made = images(Web(gone=ImageError("cannot be fetched: its server answers 404"), text=b"<html>"))
    context = (Message(Role.SYSTEM, (TextPart("Be brief."),)), user(QUESTION), user(*parts))
    with pytest.raises(InvalidArgumentError, match=words) as caught:
        await made.load(context, new=2)
    assert caught.value.field == field


async def test_one_failure_ends_the_other_fetches() -> None:
    slow = asyncio.get_running_loop().create_future()
    with pytest.raises(InvalidArgumentError):
        await images(Web(slow=slow, gone=ImageError("is gone"))).load((user("slow", "gone"),))
    assert slow.cancelled()


async def test_who_is_cancelled_ends_the_fetches() -> None:
    slow = asyncio.get_running_loop().create_future()
    web = Web(slow=slow)
    loading = asyncio.create_task(images(web).load((user("slow"),)))
    while not web.fetched:
        await asyncio.sleep(0)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert slow.cancelled()


async def test_an_image_of_the_history_that_is_gone_fails_no_turn() -> None:
    made = images(Web(gone=ImageError("is gone")))
    loaded = await made.load((user("gone", QUESTION, ident="m1"), ANSWER, user(RED, ident="m2")), new=1)
    assert shown(loaded) == [LOST, ImagePart(RED, media_type="image/png")]


async def test_fields_are_named_as_the_request_that_also_brought_history() -> None:
    made = images(Web(gone=ImageError("is gone")))
    sent = (user("gone", ident="m1"), ANSWER, user(QUESTION, "gone", ident="m2"))
    with pytest.raises(InvalidArgumentError) as caught:
        await made.load(sent, new=1, sent=3)
    assert caught.value.field == "messages[2].content[1].image.url"


async def test_an_image_that_left_the_cache_is_fetched_again() -> None:
    web = Web(red=RED, blue=BLUE)
    made = images(web, cache_bytes=len(BLUE))
    history = (user("red", ident="m1"), ANSWER, user("blue", ident="m2"))
    await made.load(history[:1])
    await made.load(history, new=1)
    assert [part.data for part in shown(await made.load(history, new=0))] == [RED, BLUE]
    assert web.fetched == ["red", "blue", "red"]


async def test_the_model_sees_the_latest_images_only() -> None:
    made = images()
    history = tuple(user(RED, ident=f"m{number}") for number in range(4))
    new = user(BLUE, BLUE, ident="new")
    loaded = await made.load((*history, new), new=1)
    red, blue = ImagePart(RED, media_type="image/png"), ImagePart(BLUE, media_type="image/jpeg")
    assert shown(loaded) == [EARLIER, EARLIER, EARLIER, red, blue, blue]


async def test_too_many_at_once_are_refused_and_the_history_does_without() -> None:
    slow = asyncio.get_running_loop().create_future()
    web = Web(slow=slow)
    made = images(web, max_per_request=100)
    loading = [asyncio.create_task(made.load((user("slow"),))) for _ in range(16 + 64)]
    while len(web.fetched) < 16:
        await asyncio.sleep(0)
    with pytest.raises(OverloadedError) as caught:
        await made.load((user(RED),))
    assert caught.value.retry_after_s
    assert shown(await made.load((user("slow", ident="m1"),), new=0)) == [LOST]
    slow.set_result(RED)
    await asyncio.gather(*loading)
    assert await made.load((user(RED),))


async def test_a_server_that_is_installed_without_what_images_need_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "services.llm.images.content", raising=False)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InvalidArgumentError, match="installed without") as caught:
        await images().load((user(RED),))
    assert caught.value.field == "messages[0].content[0].image.data"


async def test_what_became_of_images_is_counted() -> None:
    registry = CollectorRegistry()
    made = Images(LIMITS, Web(gone=ImageError("is gone"), page=RED), ImageMetrics(registry))  # type: ignore[arg-type]
    await made.load((user(RED, "page"),))
    with pytest.raises(InvalidArgumentError):
        await made.load((user("gone"),))
    counts = [
        registry.get_sample_value("parley_llm_image_seconds_count", {"source": source, "outcome": outcome})
        for source, outcome in (("data", "loaded"), ("url", "loaded"), ("url", "refused"))
    ]
    assert counts == [1, 1, 1]


def test_the_cache_keeps_what_was_used_last_and_never_more_than_its_bytes() -> None:
    cache = ImageCache(100)
    for number in range(3):
        cache.put(("m", number), ImagePart(bytes(40)))
        assert cache.get(("m", 0)) or number == 2
    assert [cache.get(("m", number)) is not None for number in range(3)] == [True, False, True]
    cache.put(("m", 0), ImagePart(bytes(60)))
    assert [cache.get(("m", number)) is not None for number in range(3)] == [True, False, True]
    cache.put(("large", 0), ImagePart(bytes(101)))
    assert len(cache) == 0
    cache.put(("m", 1), ImagePart(bytes(100)))
    assert len(cache) == 1
