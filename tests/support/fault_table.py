"""tests/faults/outcomes.yaml, the table of what becomes of whom."""

from functools import cache
from typing import Any

import yaml

from tests.support.servers import ROOT

FILE = ROOT / "tests" / "faults" / "outcomes.yaml"
STATES = ("listening", "user speaking", "thinking", "speaking", "idle between turns", "tool call pending")
Row = dict[str, tuple[str, ...]]
"""The outcomes that may be, by state."""


@cache
def table() -> dict[tuple[str, str], Row]:
    """A row for each thing that may break, and each way in which it may."""
    written = yaml.safe_load(FILE.read_text("utf-8"))
    return {(what, fault): _row(cell) for what, faults in written.items() for fault, cell in faults.items()}


def _row(cell: Any) -> Row:
    by_state = cell if isinstance(cell, dict) else {"else": cell}
    unknown = by_state.keys() - {"else", *STATES}
    if unknown:
        raise ValueError(f"{FILE.name}: no such state: {', '.join(unknown)}")
    outcomes: dict[str, Any] = {state: by_state.get(state, by_state.get("else")) for state in STATES}
    return {state: tuple(allowed) if isinstance(allowed, list) else (allowed,) for state, allowed in outcomes.items()}
