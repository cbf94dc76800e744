"""`parley doctor`: what this machine has and lacks for Parley, and what to do about it."""

import os
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.checks import Check, Verdict, local_checks
from cli.ports import port_checks

_MARKS = {
    Verdict.OK: ("ok", "green"),
    Verdict.MISSING: ("missing", "bold red"),
    Verdict.OPTIONAL: ("not here", "yellow"),
}


async def run(cache_dir: Path | None, *, console: Console) -> bool:
    """Print a table of all checks; whether everything that `parley up` needs is here."""
    default = Path(os.environ.get("PARLEY_CACHE_DIR", "") or Path.home() / ".cache" / "parley")
    checks = [*local_checks(cache_dir or default), *await port_checks()]
    console.print(_table(checks))
    missing = [check.name for check in checks if check.verdict is Verdict.MISSING]
    if missing:
        console.print(Text(f"`parley up` cannot run here yet: {', '.join(missing)}.", style="bold red"), soft_wrap=True)
        return False
    console.print("Everything that `parley up` needs is here.", style="green", highlight=False)
    return True


def _table(checks: list[Check]) -> Table:
    table = Table("what", "state", "found", "what to do", box=box.SIMPLE_HEAD)
    for check in checks:
        mark, style = _MARKS[check.verdict]
        advice = "" if check.verdict is Verdict.OK else check.advice
        table.add_row(check.name, Text(mark, style=style), Text(check.found), Text(advice))
    return table
