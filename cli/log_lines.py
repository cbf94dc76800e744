"""The services' JSON log lines, made readable for a person. Pure."""

import json

_SHOWN_APART = frozenset({"time", "level", "logger", "message", "service", "exc_info", "taskName"})


def readable(program: str, line: str) -> str:
    """One line for the terminal; what is not JSON stays as it is."""
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    if not isinstance(entry, dict):
        return f"{program:12} {line}"
    clock = str(entry.get("time", ""))[11:19]
    level = str(entry.get("level", "")).lower()
    details = " ".join(f"{key}={value}" for key, value in entry.items() if key not in _SHOWN_APART)
    shown = f"{clock} {program:12} {level:7} {entry.get('message', '')} {details}".rstrip()
    return f"{shown}\n{entry['exc_info']}" if entry.get("exc_info") else shown
