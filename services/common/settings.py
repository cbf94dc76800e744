"""Settings of a server: command line over `PARLEY_*` environment over a YAML file (`--config FILE`) over defaults.

Each flag is a field of a `ServerSettings` subclass: `--llm_backend`, `PARLEY_LLM_BACKEND` and `llm_backend:` are the
same thing. A name that nobody knows is an error that suggests the nearest one.
"""

import argparse
import difflib
import os
import re
import sys
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn, Self, TypeVar

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from services.common.errors import first_line
from services.common.flag_names import CLIENT_NAMES, FLAG_NAMES, FLAG_PREFIXES
from services.common.keepalive import Keepalive
from services.common.security_settings import SecuritySettings

ENV_PREFIX = "PARLEY_"
_NEAR = 0.6
"""Likeness (0 to 1) from which a name is worth suggesting; what `difflib.get_close_matches` takes by itself."""
_SHORTENED = 0.9
"""Likeness of a name of which a part was left out; one with a letter too many is nearer."""
_ENDPOINT = re.compile(r"https?://[^/?#@\s]+:\d+/?")
SettingsT = TypeVar("SettingsT", bound="ServerSettings")


class SettingsError(Exception):
    """A flag, variable or key that is unknown or has a wrong value; the message is one line for a person."""


class ServerSettings(SecuritySettings):
    """Flags that every server has."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", validate_default=True, allow_inf_nan=False)
    open_prefix: ClassVar[str] = ""
    """Flags beginning so are accepted with any name and collected by the subclass (`llm_gen_`)."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(0, ge=0, le=65535, description="gRPC port; 0 takes a free one and logs it")
    metrics_port: int = Field(
        -1, ge=-1, le=65535, description="port of the Prometheus endpoint; 0 takes a free one, -1 is off"
    )
    otlp_endpoint: str = Field(
        "",
        description="where traces go, an OTLP receiver's gRPC port as http://host:4317 (https:// for TLS)",
        json_schema_extra={"default_text": "none"},
    )
    trace_content: bool = Field(
        False, description="let traces hold what was said and written: transcripts, prompts, answers"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severe level that is logged"
    )
    log_content: bool = Field(
        False,
        description="let logs hold what was said and written: transcripts, prompts, answers, and at --log_level debug "
        "what libraries say",
    )
    log_format: Literal["json", "text"] = Field("json", description="json for machines, text for a terminal")
    drain_wait_s: float = Field(
        0.0, ge=0, description="seconds of NOT_SERVING before new calls are refused at shutdown"
    )
    drain_grace_s: float = Field(20.0, ge=0, description="seconds that running calls get to finish at shutdown")
    max_connection_age_s: float = Field(
        60.0,
        ge=0,
        description="seconds after which a client is asked to connect anew, which is how it finds replicas that were "
        "added; calls that run go on; 0: never",
    )
    keepalive_idle_s: float = Field(
        10.0,
        ge=0.1,
        description="seconds of silence on a connection after which its other end is asked whether it is still there",
    )
    keepalive_timeout_s: float = Field(
        5.0, ge=0.1, description="seconds without an answer to that after which all calls on the connection fail"
    )
    cache_dir: Path = Field(
        Path.home() / ".cache" / "parley", description="where models that come in packages are unpacked, once"
    )
    max_load: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the time that the event loop may be wanted: as much work is let in as fits by what it is "
        "measured to take, and more is refused; 0: limits by number alone",
    )
    max_message_bytes: int = Field(8 << 20, ge=1 << 16, description="largest gRPC message accepted")
    max_metadata_bytes: int = Field(
        16 << 10, ge=4 << 10, le=1 << 20, description="most metadata (headers) of a gRPC call accepted"
    )

    @property
    def keepalive(self) -> Keepalive:
        """Of this server's connections, to its clients and to other services."""
        return Keepalive(self.keepalive_idle_s, self.keepalive_timeout_s)

    @field_validator("otlp_endpoint")
    @classmethod
    def _check_endpoint(cls, value: str) -> str:
        if value and not _ENDPOINT.fullmatch(value):
            raise ValueError("must be http:// or https:// with a host and a port, such as http://localhost:4317")
        return value

    @model_validator(mode="after")
    def _check_host(self) -> Self:
        self.check_listening(self.host)
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The command line arrives as init values; the YAML file is read by `load`, below the environment."""
        return init_settings, env_settings, _YamlValues(settings_cls)


class _YamlValues(PydanticBaseSettingsSource):
    """Values of the file that `load` has read, for the class being built."""

    values: ClassVar[Mapping[str, Any]] = {}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self.values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return {name: value for name, value in self.values.items() if name in self.settings_cls.model_fields}


def load(kind: type[SettingsT], program: str, argv: Sequence[str]) -> SettingsT:
    """Read the settings of a program.

    Raises:
        SettingsError: for an unknown name or choice (with the nearest known one) or a wrong value (naming its flag).
    """
    given, environment, file_values = _sources(kind, program, argv)
    if kind.open_prefix:
        from_environment = {name: os.environ[f"{ENV_PREFIX}{name.upper()}"] for name in environment}
        for source in (from_environment, file_values):
            given = {k: v for k, v in source.items() if _is_open(kind, k)} | given
    _YamlValues.values = file_values
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ") + _nearest_choice(first)
        raise SettingsError(f"--{name}: {message}" if name else message) from None
    finally:
        _YamlValues.values = {}


def names_given(kind: type[ServerSettings], program: str, argv: Sequence[str]) -> set[str]:
    """The names that the command line, the environment or the file set: all else is left to the defaults.

    Raises:
        SettingsError: for an unknown name.
    """
    return {name for source in _sources(kind, program, argv) for name in source}


def load_or_exit(kind: type[SettingsT], program: str) -> SettingsT:
    """`load` from the real command line; a wrong setting ends the program with one line and exit code 2."""
    try:
        return load(kind, program, sys.argv[1:])
    except SettingsError as error:
        fail(program, str(error))


def fail(program: str, message: str) -> NoReturn:
    """End the program with one line on standard error and exit code 2."""
    sys.stderr.write(f"{program}: {message}\n")
    raise SystemExit(2)


def _sources(
    kind: type[ServerSettings], program: str, argv: Sequence[str]
) -> tuple[dict[str, Any], set[str], dict[str, Any]]:
    """The flags with their values, the names in the environment, and the file's values; all names are known ones."""
    flags, rest = _parser(kind, program).parse_known_args(argv)
    given = {name: value for name, value in vars(flags).items() if value is not None}
    config = given.pop("config", None) or os.environ.get(f"{ENV_PREFIX}CONFIG")
    given |= _open_flags(kind, rest)
    environment = {
        name.removeprefix(ENV_PREFIX).lower()
        for name in os.environ
        if name.startswith(ENV_PREFIX) and name != f"{ENV_PREFIX}CONFIG"
    }
    _check_names(kind, environment, "environment variable", lambda name: f"{ENV_PREFIX}{name.upper()}")
    file_values = _read_yaml(Path(config)) if config else {}
    _check_names(kind, file_values, "key in the configuration file:", str)
    return given, environment, file_values


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(message.removeprefix("argument "))


def _parser(kind: type[ServerSettings], program: str) -> argparse.ArgumentParser:
    """A flag for each field, grouped by the field's `group`; values stay text, pydantic reads them."""
    parser = _Parser(program, description=kind.__doc__, allow_abbrev=False)
    parser.add_argument("--config", metavar="FILE", help="YAML file with any of these flags as keys")
    groups = {"server": parser.add_argument_group("server")}
    for name, field in kind.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        title = str(extra.get("group", "server"))
        group = groups.setdefault(title, parser.add_argument_group(title) if title not in groups else groups[title])
        if extra.get("hidden"):
            continue
        description = f"{field.description} (default: {extra.get('default_text', field.get_default())})".replace(
            "%", "%%"
        )
        if field.annotation is bool:
            group.add_argument(f"--{name}", nargs="?", const="true", metavar="BOOL", help=description)
        else:
            group.add_argument(f"--{name}", metavar=name.rsplit("_", 1)[-1].upper(), help=description)
    return parser


def _open_flags(kind: type[ServerSettings], rest: Sequence[str]) -> dict[str, str]:
    """What argparse did not know: `--llm_gen_top_k 5` where the settings are open to it, an error otherwise."""
    values: dict[str, str] = {}
    pending = list(rest)
    while pending:
        word = pending.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not _is_open(kind, name):
            hint = nearest(name, kind.model_fields)
            shown = word.partition("=")[0] if word.startswith("-") else "(a value without one)"  # which may be a key
            raise SettingsError(f"unknown flag {shown}" + (f"; did you mean --{hint}?" if hint else "; see --help"))
        if not equals:
            if not pending:
                raise SettingsError(f"--{name} needs a value")
            value = pending.pop(0)
        values[name] = value
    return values


def _is_open(kind: type[ServerSettings], name: str) -> bool:
    prefix = kind.open_prefix
    return bool(prefix) and name.startswith(prefix) and name != prefix and name not in kind.model_fields


def _check_names(kind: type[ServerSettings], names: Iterable[str], what: str, spell: Callable[[str], str]) -> None:
    for name in sorted(names):
        if name not in FLAG_NAMES | CLIENT_NAMES and not name.startswith(FLAG_PREFIXES):
            hint = nearest(name, FLAG_NAMES, preferred=kind.model_fields)
            raise SettingsError(f"unknown {what} {spell(name)}" + (f"; did you mean {spell(hint)}?" if hint else ""))


def nearest(name: str, known: Iterable[str], *, preferred: Container[str] = ()) -> str | None:
    """The known name that is most like the given one, if any is.

    Near are also those of which it is the beginning, and those that have its words in their order: some were left out,
    as in `api_key` for `tts_api_key`.

    Args:
        preferred: of names that are equally near, one of these.
    """

    def nearness(candidate: str) -> tuple[float, bool, float, str]:
        likeness = difflib.SequenceMatcher(a=candidate, b=name).ratio()
        words = iter(candidate.split("_"))
        shortened = bool(name) and (candidate.startswith(name) or all(word in words for word in name.split("_")))
        return max(likeness, _SHORTENED * shortened), candidate in preferred, likeness, candidate

    best = max(known, key=nearness, default=None)
    return best if best is not None and nearness(best)[0] >= _NEAR else None


def _nearest_choice(error: ErrorDetails) -> str:
    if error["type"] != "literal_error":
        return ""
    hint = nearest(str(error["input"]), re.findall("'([^']+)'", error["ctx"]["expected"]))
    return f"; did you mean {hint}?" if hint else ""


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"--config: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"--config: {path} is not text in UTF-8") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date of month 13 is a ValueError
        raise SettingsError(f"--config: {path} is not YAML: {first_line(error)}") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise SettingsError(f"--config: {path} must hold `flag: value` lines")
    return values
