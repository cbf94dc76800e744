"""What `parley up` starts: from a command line to four commands, checked before anything runs."""

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic.fields import FieldInfo

from cli import flags
from cli.errors import USAGE, CliError
from cli.flags import Flag, KnownFlags
from cli.process import Launch
from cli.programs import LLM, LOOPBACK, ORCHESTRATOR, PROGRAMS, SERVICES, Program
from services.common.settings import ServerSettings, SettingsError, load, names_given

EMBEDDED_MODEL = "package:smollm2-135m-instruct"
EMBEDDED_GENERATION: Mapping[str, str] = {"llm_gen_repetition_penalty": "1.1", "llm_gen_max_new_tokens": "100"}
"""So small a model repeats itself for minutes if it is let; half a minute of speech is enough for an answer."""
EMBEDDED_SPEED: Mapping[str, str] = {"llm_device": "cpu", "llm_quantization": "int8", "llm_threads": "1"}
"""8-bit weights decode twice as fast as bfloat16, fastest on one thread; the other cores are left to speech."""
DRAIN_GRACE_S = 5.0
"""Seconds that running calls get at Ctrl-C, where the user did not say."""
FREE_PORTS: Mapping[str, int] = {program.name: 0 for program in PROGRAMS}
REALTIME_PORT = 50080
"""Where the page and the Realtime bridge are, unless the user says otherwise."""
_REALTIME_MODULES = ("starlette", "uvicorn", "websockets", "orjson")
_STOP_MARGIN_S = 5.0
_EVERYWHERE = {"0.0.0.0": LOOPBACK, "::": "[::1]", "[::]": "[::1]"}


@dataclass(frozen=True)
class StackPlan:
    """What to start.

    Attributes:
        launches: the programs, in the order of the table.
        targets: services that run elsewhere already, by name.
        cache_dir: where logs go unless told otherwise.
        page: address of the page in a browser; empty where there is none at a known port.
    """

    launches: tuple[Launch, ...]
    targets: dict[str, str]
    cache_dir: Path
    page: str = ""


def plan_stack(words: Sequence[str], ports: Mapping[str, int], config: Path | None = None) -> StackPlan:
    """Give each program the flags that it has, and check them as the program itself will.

    A service whose `--X_target` is set runs elsewhere and is not started.

    Args:
        words: flags of any program.
        ports: gRPC port by program where it is not the default one; 0 takes a free one.
        config: YAML file for all of them.

    Raises:
        CliError: for a flag that no program has, or a value that one refuses.
    """
    known = {program.name: _known(program.settings_class()) for program in PROGRAMS}
    given = flags.parse(words, list(known.values()))
    _refuse_own(given)
    if config is not None:
        given = [*given, Flag("config", str(config))]
    routed = flags.route(given, {name: _with_config(flags_known) for name, flags_known in known.items()})
    plans = {program.name: _plan(program, routed[program.name], ports) for program in PROGRAMS}
    orchestrator, launch = plans[ORCHESTRATOR.name]
    targets = {
        service.name: str(getattr(orchestrator, f"{service.name}_target"))
        for service in SERVICES
        if f"{service.name}_target" in orchestrator.model_fields_set
    }
    services = tuple(plans[service.name][1] for service in SERVICES if service.name not in targets)
    realtime_port = getattr(orchestrator, "realtime_port", -1)
    scheme = "http" if orchestrator.server_tls is None else "https"
    page = f"{scheme}://{launch.host}:{realtime_port}/" if realtime_port > 0 else ""
    return StackPlan((*services, launch), targets, orchestrator.cache_dir, page)


def _plan(program: Program, given: Sequence[Flag], ports: Mapping[str, int]) -> tuple[ServerSettings, Launch]:
    """A program's settings as it will read them, and how it is started."""
    kind, name = program.settings_class(), f"parley-{program.name}"
    try:
        set_names = names_given(kind, name, [str(flag) for flag in given])
        given = [*given, *_defaults(program, set_names)]
        if program is ORCHESTRATOR and program.name not in ports and set_names.isdisjoint(("realtime_port", "port")):
            given += _realtime()
        settings = load(kind, name, [str(flag) for flag in given])
    except SettingsError as error:
        raise CliError(str(error), USAGE) from None
    port = ports.get(program.name)
    if port is None:
        port = settings.port if program is ORCHESTRATOR else program.default_port
    given = [*given, Flag("port", str(port)), Flag("log_format", "json")]
    if settings.server_tls is not None and settings.health_port < 0:
        given.append(Flag("health_port", "0"))  # for whoever started it, without certificates
    if settings.metrics_port > 0:
        offset = program.metrics_port - ORCHESTRATOR.metrics_port
        given.append(Flag("metrics_port", str(settings.metrics_port + offset)))
    elif "metrics_port" not in set_names and port == program.default_port:
        given.append(Flag("metrics_port", str(program.metrics_port)))
    command = (sys.executable, "-m", program.module, *(str(flag) for flag in given))
    grace_s = settings.drain_wait_s + settings.drain_grace_s + _STOP_MARGIN_S
    return settings, Launch(program, command, _EVERYWHERE.get(settings.host, settings.host), grace_s)


def _defaults(program: Program, set_names: set[str]) -> list[Flag]:
    """What `up` chooses where the user does not: a short drain, and a model that needs no key, no hub and no GPU."""
    chosen: list[Flag] = []
    if "drain_grace_s" not in set_names:
        chosen.append(Flag("drain_grace_s", str(DRAIN_GRACE_S)))
    if program is LLM and "llm_backend" not in set_names:
        chosen.append(Flag("llm_backend", "transformers"))
        if "model_name" not in set_names:
            chosen.append(Flag("model_name", EMBEDDED_MODEL))
            if set_names.isdisjoint(("llm_device", "llm_torch_dtype")):
                chosen += [Flag(name, value) for name, value in EMBEDDED_SPEED.items() if name not in set_names]
            chosen += [Flag(name, value) for name, value in EMBEDDED_GENERATION.items() if name not in set_names]
    return chosen


def _realtime() -> list[Flag]:
    """The bridge, where the stack is at its usual ports and what the bridge needs is installed."""
    installed = all(importlib.util.find_spec(module) is not None for module in _REALTIME_MODULES)
    return [Flag("realtime_port", str(REALTIME_PORT))] if installed else []


def _refuse_own(given: Sequence[Flag]) -> None:
    if any(flag.name == "log_format" for flag in given):
        raise CliError("--log_format is not for `parley up`: its log files are JSON lines, --verbose shows text", USAGE)


def _known(kind: type[ServerSettings]) -> KnownFlags:
    shown = {name: field for name, field in kind.model_fields.items() if not _is_hidden(field)}
    switches = [name for name, field in shown.items() if field.annotation is bool]
    return KnownFlags(shown.keys(), switches, kind.open_prefix)


def _is_hidden(field: FieldInfo) -> bool:
    """Whether a setting is no flag; the same mark that `settings.py` reads."""
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("hidden"))


def _with_config(known: KnownFlags) -> KnownFlags:
    return KnownFlags({*known.names, "config"}, known.switches, known.open_prefix)
