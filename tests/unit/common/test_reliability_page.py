"""docs/reliability.md shows the table that the tests of faults go by; its counts are of the run that wrote it."""

import re

from tests.support.fault_sessions import Outcome, State
from tests.support.fault_table import STATES, table
from tools.reliability_page import PAGE, with_outcomes, with_run


def test_the_page_of_reliability_shows_the_table() -> None:
    page = PAGE.read_text("utf-8")
    assert with_outcomes(page) == page


def test_the_page_of_reliability_has_the_counts_of_a_whole_run() -> None:
    page = PAGE.read_text("utf-8")
    sessions, faults = len(table()) * len(STATES), len(table())
    assert f"{sessions} sessions in {faults} faults" in page
    counts = re.findall(r"^\| (\w+) \| (\d+) \|$", page, re.MULTILINE)
    assert sum(int(count) for _, count in counts) == sessions
    assert {outcome for outcome, _ in counts} <= {outcome.value for outcome in Outcome}


def test_the_counts_are_of_all_outcomes() -> None:
    page = with_run("<!-- run -->\n<!-- end -->", [{"thinking": "retried", "speaking": "ended"}, {"thinking": "ended"}])
    assert "3 sessions in 2 faults" in page
    assert "| ended | 2 |\n| retried | 1 |\n" in page


def test_the_table_has_every_state_and_no_other_outcome() -> None:
    assert tuple(state.value for state in State) == STATES
    known = {outcome.value for outcome in Outcome}
    assert all(set(allowed) <= known for row in table().values() for allowed in row.values())
