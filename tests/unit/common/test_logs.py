"""Structured logs and the ids in them."""

import asyncio
import json
import logging
import warnings
from collections.abc import Callable, Iterator

import pytest

from services.common import logs

log = logging.getLogger("services.something")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)


def lines(capsys: pytest.CaptureFixture[str], finish: Callable[[], None]) -> list[dict[str, object]]:
    finish()
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_each_line_is_one_json_object_with_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    finish = logs.setup("stt", "info", "json")
    log.info("two\nlines %s", "{}", extra={"port": 5})
    log.debug("not this")
    (line,) = lines(capsys, finish)
    assert line["message"] == "two\nlines {}"
    assert (line["level"], line["logger"], line["service"], line["port"]) == ("INFO", "services.something", "stt", 5)
    assert line["time"]


def test_ids_are_in_every_line_inside_and_in_none_outside(capsys: pytest.CaptureFixture[str]) -> None:
    finish = logs.setup("stt", "info", "json")
    with logs.ids(session_id="s1", conversation_id=""):
        with logs.ids(response_id="r1"):
            log.info("inner")
        log.info("outer")
    log.info("outside")
    inner, outer, outside = lines(capsys, finish)
    assert (inner["session_id"], inner["response_id"]) == ("s1", "r1")
    assert outer["session_id"] == "s1"
    assert "response_id" not in outer
    assert "conversation_id" not in outer
    assert not set(logs.LOG_IDS) & set(outside)


async def test_tasks_inherit_ids_and_keep_their_own_apart() -> None:
    async def own(name: str) -> dict[str, str]:
        with logs.ids(response_id=name):
            await asyncio.sleep(0)
            return logs.current_ids()

    with logs.ids(session_id="s1"):
        both = await asyncio.gather(own("a"), own("b"))
    assert both == [{"session_id": "s1", "response_id": "a"}, {"session_id": "s1", "response_id": "b"}]
    assert logs.current_ids() == {}


def test_text_lines_show_what_json_lines_hold(capsys: pytest.CaptureFixture[str]) -> None:
    finish = logs.setup("stt", "info", "text")
    with logs.ids(session_id="s1"):
        log.info("listening", extra={"port": 5})
    log.info("plain")
    finish()
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("stt INFO listening  port=5 session_id=s1")
    assert second.endswith("stt INFO plain")


def test_exceptions_and_warnings_are_logged_in_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    finish = logs.setup("stt", "info", "json")
    try:
        raise ValueError("what broke")
    except ValueError:
        log.exception("failed")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("be careful", UserWarning, stacklevel=1)
    failed, warned = lines(capsys, finish)
    assert "ValueError: what broke" in str(failed["exc_info"])
    assert "be careful" in str(warned["message"])
