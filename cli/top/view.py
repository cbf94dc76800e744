"""Draws a frame of `parley top`. No I/O."""

import time

from rich import box
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.render import brief
from cli.report.summary import STAGE_TITLES
from cli.top.figures import Figures, Quantiles

MOST_ERRORS = 6


def frame(figures: Figures) -> RenderableType:
    """All that is known, in a frame."""
    down = [f"{end.service or end.address}: {end.error}" for end in figures.endpoints if end.now is None]
    parts: list[RenderableType] = [_head(figures), _programs(figures), *(Text(line, "red") for line in down)]
    if any(endpoint.now is not None for endpoint in figures.endpoints):
        parts.append(Columns([_stages(figures), _work(figures)], padding=(0, 4)))
        parts.append(_errors(figures))
    return Group(*parts)


def _head(figures: Figures) -> Text:
    clock = f"  {time.strftime('%H:%M:%S')}  "
    if not figures.span_s:
        return Text.assemble(("Parley", "bold"), clock)
    words = f"rates and percentiles of the last {figures.span_s:.0f} s; "
    return Text.assemble(("Parley", "bold"), clock, words, ("dim: of all time", "dim"))


def _programs(figures: Figures) -> Table:
    table = _table("program", "metrics at", "state")
    table.collapse_padding = True
    for column in ("cpu", "memory", "calls", "failed/s", "lag p95"):
        table.add_column(column, justify="right")
    for endpoint, own in figures.each():
        name = endpoint.service or "?"
        if endpoint.now is None:
            table.add_row(name, endpoint.address, Text("down", "red"))
            continue
        cpu = own.rate("process_cpu_seconds_total")
        lag = own.quantiles("parley_event_loop_lag_seconds")
        failed = [rate for _, _, _, rate in own.errors() if rate is not None]
        table.add_row(
            *(name, endpoint.address, Text("up", "green"), "-" if cpu is None else f"{cpu:.0%}"),
            f"{own.gauge('process_resident_memory_bytes') / 1e6:,.0f} MB",
            f"{own.gauge('parley_rpc_server_running'):,.0f}",
            Text(_rate(sum(failed)), "red") if sum(failed) else "0",
            _span(lag, lag.p95),
        )
    return table


def _stages(figures: Figures) -> Table:
    """How long turns take, by stage."""
    table = _table("turns")
    for column in ("p50", "p95", "turns"):
        table.add_column(column, justify="right")
    rows = {"Response": figures.quantiles("parley_turn_response_seconds")}
    rows |= {
        title: figures.quantiles("parley_turn_stage_seconds", stage=stage) for stage, title in STAGE_TITLES.items()
    }
    rows["Interruption to stop"] = figures.quantiles("parley_barge_in_stop_seconds")
    for title, found in rows.items():
        name = Text(title, "bold") if title == "Response" else Text(title)
        table.add_row(name, _span(found, found.p50), _span(found, found.p95), _dimmed(found, f"{found.count:,.0f}"))
    return table


def _work(figures: Figures) -> Table:
    """What the services do, and what waits for them."""
    rows: dict[str, RenderableType] = {
        "sessions": f"{figures.gauge('parley_sessions_active'):,.0f}",
        "turns a minute": _a_minute(figures, "parley_turns_total", "completed", "cancelled", "incomplete", "failed"),
        "begun at a pause": _a_minute(figures, "parley_speculations_total", "confirmed", "discarded"),
        "language model": _queue(figures, "parley_llm_requests_running", "parley_llm_requests_waiting"),
        "  tokens a second": _tokens(figures),
        "  first token": _pair(figures.quantiles("gen_ai_server_time_to_first_token_seconds")),
        "speech to text": f"{figures.gauge('parley_stt_active_streams'):,.0f} streams; recordings: "
        + _queue(figures, "parley_stt_transcriptions_running", "parley_stt_transcriptions_waiting"),
        "  final transcript": _pair(figures.quantiles("parley_stt_finalization_delay_seconds")),
        "  real-time factor": _pair(figures.quantiles("parley_stt_real_time_factor"), seconds=False),
        "text to speech": _queue(figures, "parley_tts_active_streams", "parley_tts_requests_waiting"),
        "  first audio": _pair(figures.quantiles("parley_tts_time_to_first_byte_seconds")),
        "  real-time factor ": _pair(figures.quantiles("parley_tts_real_time_factor"), seconds=False),
    }
    table = _table("work", "")
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _errors(figures: Figures) -> RenderableType:
    found = figures.errors()
    if not found:
        return Text("No call has failed.", "dim")
    table = _table("failed calls", "status")
    for column in ("since the start", "a second"):
        table.add_column(column, justify="right")
    for method, code, count, rate in found[:MOST_ERRORS]:
        style = "red" if rate else "dim"
        table.add_row(Text(method, style), Text(code, style), Text(f"{count:,.0f}", style), Text(_rate(rate), style))
    return table


def _queue(figures: Figures, running: str, waiting: str) -> str:
    return f"{figures.gauge(running):,.0f} at work, {figures.gauge(waiting):,.0f} waiting"


def _a_minute(figures: Figures, name: str, *outcomes: str) -> str:
    """How often a counter rises in a minute, by outcome; those that do not are left out."""
    rates = {outcome: figures.rate(name, outcome=outcome) for outcome in outcomes}
    shown = ", ".join(f"{rate * 60:.0f} {outcome}" for outcome, rate in rates.items() if rate)
    return shown or ("-" if None in rates.values() else "0")


def _tokens(figures: Figures) -> str:
    rates = {kind: figures.rate("parley_llm_tokens_total", type=kind) for kind in ("output", "input", "cached_input")}
    return ", ".join(f"{_rate(rate)} {kind.replace('_', ' ')}" for kind, rate in rates.items())


def _pair(found: Quantiles, *, seconds: bool = True) -> Text:
    """Both percentiles on one line."""
    shown = (_plain(value, seconds=seconds) for value in (found.p50, found.p95))
    return _dimmed(found, "p50 {}, p95 {}".format(*shown) if found.count else "-")


def _span(found: Quantiles, value: float | None) -> Text:
    return _dimmed(found, "-" if value is None else brief(value))


def _plain(value: float | None, *, seconds: bool) -> str:
    if value is None:
        return "-"
    return brief(value) if seconds else f"{value:.2f}"


def _dimmed(found: Quantiles, shown: str) -> Text:
    return Text(shown, "" if found.recent else "dim")


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:,.0f}" if rate >= 10 or not rate else f"{rate:.2g}"


def _table(*columns: str) -> Table:
    return Table(*columns, box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False)
