"""The JSON of a client's event: how much of it is read at all.

A frame of 8 MiB holds four million values; to check them one by one would stop every session of the server for a
minute.
"""

from typing import Any

import orjson

from orchestrator.realtime.models import BadEventError

MAX_VALUES = 20_000
"""As many as the largest set of tools that a session may have, with room to spare."""
MAX_LEVELS = 100
"""What is read can be written: orjson writes 254 levels."""


def read_json(text: str) -> dict[str, Any]:
    """The JSON object in a frame.

    Raises:
        BadEventError: where it is none, or holds too much.
    """
    if _values(text) > MAX_VALUES and _values(_outside_strings(text)) > MAX_VALUES:
        raise BadEventError(f"the event has more than {MAX_VALUES} values")
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadEventError(f"the event is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadEventError("the event is not a JSON object")
    if text.count("[") + text.count("{") > MAX_LEVELS and _is_deeper(value, MAX_LEVELS):
        raise BadEventError(f"the event nests more than {MAX_LEVELS} levels deep")
    return value


def _values(text: str) -> int:
    """At least as many as JSON has, if commas and brackets stand in no string."""
    return text.count(",") + text.count("[") + text.count("{")


def _outside_strings(text: str) -> str:
    return "".join(text.replace("\\\\", "").replace('\\"', "").split('"')[::2])


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return not levels or any(_is_deeper(part, levels - 1) for part in inner)
