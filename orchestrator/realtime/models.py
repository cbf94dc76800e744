"""How JSON that comes from clients is checked."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.common.errors import InvalidArgumentError

ModelT = TypeVar("ModelT", bound=BaseModel)
ValueT = TypeVar("ValueT")
Many = Annotated[list[ValueT], Field(fail_fast=True)]
"""A list of which only the first fault is looked for: what is told of twenty thousand takes long to gather."""


class BadEventError(InvalidArgumentError):
    """An event is wrong; its field is named as the client named it."""


class Model(BaseModel):
    """JSON of a client's: what is not known is refused, and nothing is taken for something else."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def parse(kind: type[ModelT], value: Any) -> ModelT:
    """JSON as this kind.

    Raises:
        BadEventError: naming the first field at fault.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = _path(first["loc"], value)
        message = "is not a known parameter" if first["type"] == "extra_forbidden" else _message(first["msg"])
        raise BadEventError(message, field=field) from None


def merged(old: ModelT, update: ModelT) -> ModelT:
    """`old` with the fields that `update` sets; objects in both are merged in their turn."""
    changes: dict[str, Any] = {}
    for name in update.model_fields_set:
        before, after = getattr(old, name), getattr(update, name)
        both = isinstance(before, BaseModel) and type(before) is type(after)
        changes[name] = merged(before, after) if both else after
    return old.model_copy(update=changes)


def _path(location: tuple[int | str, ...], value: Any) -> str:
    """The path in the JSON: pydantic's, without the names of the alternatives that it tried on the way."""
    path: list[str] = []
    for part in location:
        if isinstance(value, dict):
            if part in value or part == location[-1]:
                path.append(f".{part}" if path else str(part))
                value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int):
            path.append(f"[{part}]")
            value = value[part] if part < len(value) else None
    return "".join(path)


def _message(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
