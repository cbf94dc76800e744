"""Structured logs and the ids in them."""

import asyncio
import json
import logging
import warnings
from collections.abc import Callable, Iterator

import pytest
from pydantic import BaseModel, SecretStr

from services.common import logs, secrets

log = logging.getLogger("services.something")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    for own in ("services", "orchestrator"):
        logging.getLogger(own).setLevel(logging.NOTSET)
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


@pytest.mark.parametrize(("content", "told"), [(False, ["ours"]), (True, ["ours", "theirs"])])
def test_debug_lines_of_libraries_which_hold_whole_requests_come_only_with_content(
    content: bool, told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    finish = logs.setup("stt", "debug", "json", content=content)
    assert logs.content() is content
    log.debug("ours")
    logging.getLogger("openai._base_client").debug("theirs")
    assert [line["message"] for line in lines(capsys, finish)] == told


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_line_shows_a_secret(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    class Settings(BaseModel):
        key: SecretStr = SecretStr('quo"ted-key')
        store: SecretStr = SecretStr("memory")

    environment = {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20abc%2Bdef,x=y"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        given = secrets.of(Settings(key=SecretStr('quo"ted-key2'), store=SecretStr("redis://u:pass%2Fword@h/0")))
    finish = logs.setup("stt", "info", log_format, secrets=given)
    log.info("memory %s %s", 'quo"ted-key2', "pass/word", extra={"also": "pass%2Fword abc+def"})
    try:
        raise ValueError('quo"ted-key2')
    except ValueError:
        log.exception("failed")
    finish()
    written = capsys.readouterr().err
    assert "memory *** ***" in written
    assert not [word for word in ("ted-key2", "pass/word", "pass%2Fword", "abc+def") if word in written]
