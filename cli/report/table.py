"""A load run's figures in the terminal."""

from rich import box
from rich.table import Table

from cli.render import brief
from cli.report.summary import PERCENTILES, Summary


def percentile_table(summary: Summary) -> Table:
    """How each duration is spread; the figures beside it in the caption."""
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in summary.outcomes.items())
    table = Table("waited for", title="Load run", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("count", *(f"p{rank}" for rank in PERCENTILES), "worst"):
        table.add_column(column, justify="right")
    for title, spread in summary.spreads.items():
        spans = (brief(seconds) for seconds in (*spread.percentiles, spread.worst))
        table.add_row(title, f"{spread.count:,}", *spans)
    cpu = "" if summary.cpu is None else f"; this client used {summary.cpu:.0%} of a core"
    table.caption = (
        f"turns: {outcomes or 'none'}; {summary.turns_a_minute:.0f} answers a minute; "
        f"{summary.most_sessions} sessions at once at most{cpu}"
    )
    table.caption_justify = "left"
    return table
