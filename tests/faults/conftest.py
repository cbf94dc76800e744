"""`--write-reliability` writes the tables of docs/reliability.md once every case of the table has had its outcome."""

import pytest

from tests.support.fault_table import table
from tools.reliability_page import PAGE, with_outcomes, with_run

FOUND = pytest.StashKey[list[tuple[str, str, dict[str, str]]]]()
"""What broke, how, and the outcome by state."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option."""
    parser.addoption("--write-reliability", action="store_true", help="write the tables of docs/reliability.md")


def pytest_configure(config: pytest.Config) -> None:
    """Nothing is found yet."""
    config.stash[FOUND] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page."""
    found = session.config.stash[FOUND]
    if session.config.getoption("--write-reliability") and len(found) == len(table()):
        page = with_outcomes(PAGE.read_text("utf-8"))
        PAGE.write_text(with_run(page, [outcomes for *_, outcomes in found]), "utf-8")
