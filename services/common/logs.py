"""Structured logs: one JSON object a line, with the ids of the session, conversation and response being served."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from contextvars import ContextVar

from pythonjsonlogger.json import JsonFormatter

LOG_IDS = ("session_id", "conversation_id", "response_id")
_ids: ContextVar[dict[str, str]] = ContextVar("parley_log_ids", default={})  # noqa: B039  never mutated


def setup(service: str, level: str, log_format: str) -> None:
    """Send all logging to standard error in one format."""
    handler = logging.StreamHandler(sys.stderr)
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
    handler.addFilter(_add_ids)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)


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
    for name, value in _ids.get().items():
        if not hasattr(record, name):
            setattr(record, name, value)
    return True
