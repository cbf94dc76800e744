"""Structured logs: one JSON object a line, with the ids of the session, conversation and response being served,
and of the span where traces are on.
"""

import atexit
import contextlib
import logging
import queue
import sys
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from logging.handlers import QueueHandler, QueueListener
from typing import TextIO

from pythonjsonlogger.json import JsonFormatter

from services.common import tracing

LOG_IDS = ("session_id", "conversation_id", "response_id")
_OWN_LOGGERS = ("services", "orchestrator")
_content = False
_ids: ContextVar[dict[str, str]] = ContextVar("parley_log_ids", default={})  # noqa: B039  never mutated


def setup(
    service: str, level: str, log_format: str, *, content: bool = False, secrets: Sequence[str] = ()
) -> Callable[[], None]:
    """Send all logging to standard error in one format.

    Args:
        service: its name, in every line.
        level: least severe level. Libraries log no debug lines without `content`: theirs hold whole requests.
        log_format: json or text.
        content: whether lines may hold what was said and written.
        secrets: what no line shows.

    Returns:
        What writes the lines that still wait and ends the writing; it is called at the end of the process, too.
    """
    global _content
    _content = content
    handler = _Writer(secrets)
    if log_format == "json":
        rename = {"asctime": "time", "levelname": "level", "name": "logger"}
        handler.setFormatter(
            JsonFormatter(
                "%(asctime)s %(levelname)s %(name)s %(message)s",
                rename_fields=rename,
                static_fields={"service": service},
            )
        )
    else:
        handler.setFormatter(_TextFormatter(f"%(asctime)s {service} %(levelname)s %(message)s", "%H:%M:%S"))
    # Lines are written by a thread of their own: a full pipe or a slow disk must not hold the event loop.
    lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    writer = QueueListener(lines, handler)
    collector = _Collector(lines)
    collector.addFilter(_add_ids)
    of_libraries = "INFO" if level == "debug" and not content else level.upper()
    logging.basicConfig(level=of_libraries, handlers=[collector], force=True)
    for own in _OWN_LOGGERS:
        logging.getLogger(own).setLevel(level.upper())
    logging.captureWarnings(True)
    writer.start()

    def finish() -> None:
        atexit.unregister(finish)
        writer.stop()

    atexit.register(finish)
    return finish


def content() -> bool:
    """Whether lines may hold what was said and written."""
    return _content


class _Writer(logging.StreamHandler[TextIO]):
    """Writes lines to standard error, without what is secret."""

    def __init__(self, secrets: Sequence[str]) -> None:
        super().__init__(sys.stderr)
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        for secret in self._secrets:
            line = line.replace(secret, "***")
        return line


class _Collector(QueueHandler):
    """Passes records on as they are: they stay in this process, and the writer's formatter wants their exceptions."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record


class _TextFormatter(logging.Formatter):
    """A line for a person: the message, then what else the record holds."""

    _OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

    def formatMessage(self, record: logging.LogRecord) -> str:
        extra = " ".join(f"{name}={value}" for name, value in vars(record).items() if name not in self._OWN)
        return f"{super().formatMessage(record)}  {extra}".rstrip()


@contextlib.contextmanager
def ids(**values: str) -> Iterator[None]:
    """Add ids to every log line written inside, in this task and those it starts; empty ones are left out."""
    token = _ids.set(_ids.get() | {name: value for name, value in values.items() if value})
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # an abandoned generator is closed in another context
            _ids.reset(token)


def current_ids() -> dict[str, str]:
    """The ids in force, as gRPC metadata carries them to the next service."""
    return _ids.get()


def _add_ids(record: logging.LogRecord) -> bool:
    for name, value in (_ids.get() | tracing.log_ids()).items():
        if not hasattr(record, name):
            setattr(record, name, value)
    return True
