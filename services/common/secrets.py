"""The keys and passwords that a program was given, so that no line of its log shows one."""

import json
import os
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, SecretStr

_KEYS = ("OPENAI_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
_SHORTEST = 6
"""Characters: what is shorter is no key, and would take words out of lines."""


def of(settings: BaseModel) -> tuple[str, ...]:
    """All of them, as they are and as JSON and URLs write them, the longest first."""
    written = {form for secret in _given(settings) for form in (secret, unquote(secret), json.dumps(secret)[1:-1])}
    return tuple(sorted((form for form in written if len(form) >= _SHORTEST), key=len, reverse=True))


def _given(settings: BaseModel) -> Iterator[str]:
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, SecretStr) and value != field.default:
            yield _password(value.get_secret_value())
    yield from (os.environ.get(name, "") for name in _KEYS)
    for name in _HEADERS:  # name=value,name=value; a value may be "Bearer KEY"
        for header in os.environ.get(name, "").split(","):
            yield unquote(header.partition("=")[2]).rpartition(" ")[2].strip()


def _password(value: str) -> str:
    """What is secret in a value: of a URL its password."""
    if "://" not in value:
        return value
    try:
        return urlsplit(value).password or ""
    except ValueError:
        return value
