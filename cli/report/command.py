"""`parley report`: the figures and the page of a load run, made again from its records."""

from pathlib import Path

from rich.console import Console
from rich.text import Text

from cli.errors import CliError
from cli.load import records
from cli.report.page import render
from cli.report.summary import Summary, summarize
from cli.report.table import percentile_table


def run(path: Path, output: Path | None, *, console: Console) -> None:
    """Read a run's folder or file, print its figures and write the page, beside the records unless told otherwise.

    Raises:
        CliError: where the records cannot be read, or the page not be written.
    """
    folder = path if path.is_dir() else path.parent
    show(records.read(path), output or folder / records.PAGE_NAME, console=console)


def show(load_run: records.Run, page: Path, *, console: Console) -> Summary:
    """Print a run's figures with what makes them doubtful and what went wrong, and write the page.

    Raises:
        CliError: where it cannot be written.
    """
    summary = summarize(load_run)
    if summary.spreads:
        console.print(percentile_table(summary))
    for notice in summary.notices:
        _print(console, notice, "yellow")
    for status, count in summary.errors.items():
        message = summary.messages.get(status, "")
        _print(console, f"{count} × {status}{message and f': {message}'}", "red")
    if not summary.answered:
        _print(console, "No turn was answered.", "bold red")
    try:
        page.write_text(render(load_run), "utf-8")
    except OSError as error:
        raise CliError(f"cannot write {page}: {error.strerror or error}") from None
    _print(console, f"Report: {page}")
    return summary


def _print(console: Console, line: str, style: str = "") -> None:
    console.print(Text(line, style=style), soft_wrap=True)
