"""`parley report`: the page of a load run, made again from its records."""

from pathlib import Path

from rich.console import Console
from rich.text import Text

from cli.errors import CliError
from cli.load import records
from cli.report.page import render
from cli.report.summary import summarize
from cli.report.table import percentile_table


def run(path: Path, output: Path | None, *, console: Console) -> None:
    """Read a run's folder or file, print its figures and write the page, beside the records unless told otherwise.

    Raises:
        CliError: where the records cannot be read, or the page not be written.
    """
    load_run = records.read(path)
    console.print(percentile_table(summarize(load_run)))
    folder = path if path.is_dir() else path.parent
    page = write_report(load_run, output or folder / "report.html")
    console.print(Text(f"Report: {page}"), soft_wrap=True)


def write_report(load_run: records.Run, path: Path) -> Path:
    """Write the page; returns its path.

    Raises:
        CliError: where it cannot be written.
    """
    try:
        path.write_text(render(load_run), "utf-8")
    except OSError as error:
        raise CliError(f"cannot write {path}: {error.strerror or error}") from None
    return path
