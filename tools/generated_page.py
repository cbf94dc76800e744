"""A page of the documentation that is made from code: written, or with `--check` compared with what is committed."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path


def write_or_check(description: str | None, path: Path, page: Callable[[], str], stale: str) -> None:
    """The command line of a generator.

    Args:
        description: for its help.
        path: of the page.
        page: makes it.
        stale: the message where it is not what is committed.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    if not parser.parse_args().check:
        path.write_text(page(), "utf-8")
    elif path.read_text("utf-8") != page():
        sys.exit(stale)
