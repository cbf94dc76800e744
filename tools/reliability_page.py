"""The tables in docs/reliability.md: what becomes of a session when something breaks (tests/faults/outcomes.yaml), and
what the last run of the tests found. `make test-faults` writes both, `python tools/reliability_page.py` only the first.
"""

import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.fault_table import STATES, table  # noqa: E402

PAGE = ROOT / "docs" / "reliability.md"


def with_outcomes(page: str) -> str:
    """The page with the table of outcomes."""
    rows = [f"| what | fault | {' | '.join(STATES)} |", f"| --- | --- |{' --- |' * len(STATES)}"]
    for (what, fault), row in table().items():
        cells = (" or ".join(row[state]) for state in STATES)
        rows.append(f"| {what} | {fault} | {' | '.join(cells)} |")
    return _with_section(page, "outcomes", rows)


def with_run(page: str, outcomes: Sequence[Mapping[str, str]]) -> str:
    """The page with the counts of a run; `outcomes` are its outcomes by state, one mapping for each fault."""
    counts = Counter(outcome for by_state in outcomes for outcome in by_state.values())
    rows = [
        f"{counts.total()} sessions in {len(outcomes)} faults; none hung, none left anything behind.",
        "",
        "| outcome | sessions |",
        "| --- | --- |",
        *(f"| {outcome} | {count} |" for outcome, count in counts.most_common()),
    ]
    return _with_section(page, "run", rows)


def _with_section(page: str, name: str, rows: Sequence[str]) -> str:
    text = "\n".join((f"<!-- {name} -->", *rows, "<!-- end -->"))
    return re.sub(f"<!-- {name} -->\n.*?<!-- end -->", lambda _: text, page, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(with_outcomes(PAGE.read_text("utf-8")), "utf-8")
