"""A load run as one HTML page that needs nothing else: no script, no font, no address is asked for."""

from collections.abc import Iterable
from dataclasses import asdict
from html import escape

from cli.load.records import Run, TurnEnded
from cli.render import brief
from cli.report import over_time, plots
from cli.report.markup import tag
from cli.report.style import CSS
from cli.report.summary import (
    PERCENTILES,
    RESPONSE_TITLE,
    STAGE_TITLES,
    Summary,
    answered_turns,
    median_turn,
    stages_of,
    summarize,
    worst_turn,
)
from services.common.turn_stages import ENDINGS

_PARAMETERS = {
    "sessions": "Sessions",
    "turns": "Turns of each",
    "ramp_s": "Sessions begin within, s",
    "barge_in": "Share of answers interrupted",
    "barge_in_after_s": "Heard of an interrupted answer, s",
    "pause_s": "Pause before the next turn, s",
    "patience_s": "A caller hangs up after, s",
}
_ENDINGS = {
    "completed": "answered to the end",
    "cancelled": "interrupted by the caller",
    "incomplete": "cut off by a limit",
    "failed": "failed",
    "unanswered": "without any answer",
}
_STAGE_ENDINGS = {title: ENDINGS[stage] for stage, title in STAGE_TITLES.items()}


def render(run: Run) -> str:
    """The page."""
    summary, answered = summarize(run), answered_turns(run)
    title = f"Load run: {run.began.plan.sessions} sessions, {run.began.target}"
    body = [_head(run), *(tag("p", escape(notice), class_="notice", role="note") for notice in summary.notices)]
    body.append(_tiles(run, summary))
    if answered:
        body += [_one_turn(answered), _table(summary), _distributions(answered), _over_time(run, answered)]
    body += [_outcomes(summary), _parameters(run, summary), _footer()]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{CSS}</style>'
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{tag("main", *body)}</body></html>\n'


def _head(run: Run) -> str:
    began, plan = run.began, run.began.plan
    when = began.began.replace("T", " ").replace("+00:00", " UTC")
    words = (
        f"{plan.sessions} sessions, {plan.turns} turns each, said {began.file} ({began.speech_s:.1f} s) to "
        f"{began.target} at the speed of speech. {when}, {run.length_s:.0f} s long."
    )
    return tag("header", tag("h1", "Parley under load"), tag("p", escape(words)))


def _tiles(run: Run, summary: Summary) -> str:
    response = summary.spreads.get(RESPONSE_TITLE)
    failures = sum(summary.errors.values())
    tiles = [
        (
            "Response, median",
            brief(response.percentiles[0]) if response else "-",
            "end of speech to first audio",
        ),
        ("Response, p95", brief(response.percentiles[2]) if response else "-", "95 of 100 turns are faster"),
        ("Turns answered", f"{summary.answered:,}", f"of {len(run.turns):,}; {summary.turns_a_minute:.0f} a minute"),
        ("Sessions at once", f"{summary.most_sessions:,}", f"of {run.began.plan.sessions:,} at most"),
        ("Errors", f"{failures:,}", ", ".join(summary.errors) or "none"),
    ]
    cells = (
        tag("div", tag("dt", escape(name)), tag("dd", escape(value), tag("div", escape(note), class_="note")))
        for name, value, note in tiles
    )
    return tag("dl", *cells, class_="tiles")


def _one_turn(answered: list[TurnEnded]) -> str:
    words = (
        "From the end of the user's speech to the first audio of the answer. Each stage counts for what it added to "
        "the wait, so the stages add up. The dotted line is when the caller heard it: what is between it and the last "
        "stage is the network, and audio that leaves in frames. A ring marks a step that was done before its turn: the "
        "answer was begun at a pause."
    )
    timed = [turn for turn in answered if stages_of(turn)]
    if not timed:
        return ""
    figures = (
        _figure(heading, plots.waterfall(turn), f"session {turn.session}, turn {turn.turn}, {turn.response_id}")
        for heading, turn in (("The median turn", median_turn(timed)), ("The slowest turn", worst_turn(timed)))
    )
    return _section("Where the time of one turn goes", words, tag("div", *figures, class_="pair"))


def _table(summary: Summary) -> str:
    head = tag("tr", *(tag("th", name, scope="col") for name in ("", "count", *_ranks(), "slowest")))
    rows = []
    for title, spread in summary.spreads.items():
        spans = (brief(value) for value in (*spread.percentiles, spread.worst))
        ending = _STAGE_ENDINGS.get(title, "")
        note = tag("span", f"until {escape(ending)}", class_="note") if ending else ""
        name = tag("th", _swatch(title), escape(title), note, scope="row")
        cells = (tag("td", cell) for cell in (f"{spread.count:,}", *spans))
        rows.append(tag("tr", name, *cells, class_="strong" if title == RESPONSE_TITLE else ""))
    table = tag("table", tag("thead", head), tag("tbody", *rows))
    words = (
        "Percentiles over all answered turns. Those of the stages do not add up to those of the response; means would."
    )
    return _section("Latency by stage", words, tag("div", table, class_="scroll"))


def _distributions(answered: list[TurnEnded]) -> str:
    by_stage = [stages_of(turn) for turn in answered]
    columns = {RESPONSE_TITLE: [turn.response_s or 0.0 for turn in answered]}
    columns |= {title: [spent[title] for spent in by_stage if title in spent] for title in STAGE_TITLES.values()}
    figures = (_figure(title, plots.histogram(title, values)) for title, values in columns.items() if values)
    words = "Turns by what each stage took. A second hump, or a long tail to the right, is what an average hides."
    return _section("How it is spread", words, tag("div", *figures, class_="pair"))


def _over_time(run: Run, answered: list[TurnEnded]) -> str:
    figures = [_figure("Response", over_time.responses(run, answered))]
    figures.append(_figure("Open sessions", over_time.sessions(run)))
    if run.punctuality:
        figures.append(_figure("Lag of the load generator, ms", over_time.lag(run)))
    words = "Each dot is an answer, by the end of the speech that it answers; a red tick is a turn without one."
    return _section("While it ran", words, *figures)


def _outcomes(summary: Summary) -> str:
    parts = [plots.outcomes(summary.outcomes)] if summary.outcomes else []
    items = (
        tag(
            "li", tag("span", class_=f"swatch outcome {outcome}"), f"{count:,} {escape(_ENDINGS.get(outcome, outcome))}"
        )
        for outcome, count in summary.outcomes.items()
    )
    parts.append(tag("ul", *items, class_="legend"))
    if summary.errors:
        head = tag("tr", *(tag("th", name, scope="col") for name in ("status or reason", "count", "")))
        rows = (
            tag("tr", tag("td", escape(status)), tag("td", f"{count:,}"), _words(summary.messages.get(status, "")))
            for status, count in summary.errors.items()
        )
        table = tag("table", tag("thead", head), tag("tbody", *rows))
        parts.append(tag("div", table, class_="scroll"))
    return _section("How turns and sessions ended", "", *parts)


def _parameters(run: Run, summary: Summary) -> str:
    began = run.began
    values = {name: f"{value:g}" for name, value in asdict(began.plan).items()}
    rows = {title: values[name] for name, title in _PARAMETERS.items()}
    rows |= {"Recording": f"{began.file}, {began.speech_s:.1f} s", "Orchestrator": began.target, "Client": began.client}
    if summary.cpu is not None:
        rows["The load generator's processor time"] = f"{summary.cpu:.0%} of a core"
    cells = (tag("tr", tag("th", escape(name), scope="row"), tag("td", escape(value))) for name, value in rows.items())
    return _section("What was run", "", tag("div", tag("table", tag("tbody", *cells)), class_="scroll"))


def _footer() -> str:
    words = (
        "Stages are the orchestrator's own TurnTimings, as in parley_turn_stage_seconds. The response is measured by "
        "the load generator, from the end of speech as the server heard it. Durations are those of answered turns."
    )
    return tag("footer", escape(words))


def _section(title: str, words: str, *parts: str) -> str:
    return tag("section", tag("h2", escape(title)), tag("p", escape(words)) if words else "", *parts)


def _figure(heading: str, plot: str, caption: str = "") -> str:
    return tag("figure", tag("h3", escape(heading)), plot, tag("figcaption", escape(caption)) if caption else "")


def _swatch(title: str) -> str:
    return tag("span", class_=f"swatch {plots.style_of(title)}") if title in STAGE_TITLES.values() else ""


def _words(content: str) -> str:
    return tag("td", escape(content), class_="words")


def _ranks() -> Iterable[str]:
    return (f"p{rank}" for rank in PERCENTILES)
