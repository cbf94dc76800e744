"""The file of tokens: who has them, as hashes, and what each may use.

    tokens:
      - name: acme
        sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
        sessions: 20

A token is 256 random bits, so its plain SHA-256 cannot be searched for: salts and slow hashes are for what people make
up themselves. Two tokens may have one name, for the time in which a client changes from the one to the other.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.common.access.limits import Limits

PREFIX = "parley_"
"""So that people, and scanners of repositories, know one when they see it."""
MAX_NAME_CHARACTERS = 200


@dataclass(frozen=True)
class Holder:
    """Who has a token."""

    name: str
    digest: bytes
    limits: Limits


def new_token() -> str:
    """A token that nobody can guess."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(token: str) -> bytes:
    """What the file has of a token."""
    return hashlib.sha256(token.encode()).digest()


class Tokens:
    """What is in the file.

    Raises:
        ValueError: it is not as it should be; the message has nothing of what is in it.
    """

    def __init__(self, content: bytes) -> None:
        self._holders: Mapping[bytes, Holder] = {entry.digest: entry for entry in _read(content)}

    def holder(self, token: str) -> Holder | None:
        """Who has a token; None for one that is not there.

        How long the look-up takes depends on a hash of the token, which tells nothing about the tokens there are; what
        is found is compared in constant time.
        """
        digest = digest_of(token)
        found = self._holders.get(digest)
        return found if found is not None and hmac.compare_digest(found.digest, digest) else None


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    sessions: Annotated[int, Field(ge=0)] = 0
    requests_per_minute: Annotated[int, Field(ge=0)] = 0
    audio_seconds_per_day: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tokens: list[_Entry]


def _read(content: bytes) -> list[Holder]:
    try:
        read = _File.model_validate(yaml.safe_load(content))
    except (yaml.YAMLError, RecursionError):
        raise ValueError("the file of tokens is not YAML") from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"the file of tokens: {place}: {first['msg']}") from None
    return [
        Holder(
            entry.name,
            bytes.fromhex(entry.sha256),
            Limits(entry.sessions, entry.requests_per_minute, entry.audio_seconds_per_day),
        )
        for entry in read.tokens
    ]
