"""Draws a frame of `parley top`. No I/O."""

import time

from rich.console import RenderableType
from rich.text import Text

from cli.render import brief
from cli.report.summary import STAGE_TITLES
from cli.top.figures import Figures, Quantiles
from cli.top.fit import Fitted, Part, Row, Section
from cli.top.watch import Endpoint

MOST_ERRORS = 6


def frame(figures: Figures, height: int | None = None) -> RenderableType:
    """All that is known, in a frame; what matters most of it where there are `height` lines alone."""
    down = [f"{end.service or end.address}: {end.error}" for end in figures.endpoints if end.now is None]
    parts: list[Part] = [_head(figures), (_programs(figures),), *(Text(line, "red") for line in down)]
    if any(endpoint.now is not None for endpoint in figures.endpoints):
        parts += [(_stages(figures), _work(figures)), _errors(figures)]
    return Fitted(parts, height)


def _head(figures: Figures) -> Text:
    clock = f"  {time.strftime('%H:%M:%S')}  "
    if not figures.span_s:
        return Text.assemble(("Parley", "bold"), clock)
    words = f"rates and percentiles of the last {figures.span_s:.0f} s; "
    return Text.assemble(("Parley", "bold"), clock, words, ("dim: of all time", "dim"))


def _programs(figures: Figures) -> Section:
    rows = [Row(_program(endpoint, own)) for endpoint, own in figures.each()]
    return Section(("program", "metrics at", "state"), ("cpu", "memory", "calls", "failed/s", "lag p95"), tuple(rows))


def _program(endpoint: Endpoint, own: Figures) -> tuple[Text | str, ...]:
    name = endpoint.service or "?"
    if endpoint.now is None:
        return name, endpoint.address, Text("down", "red")
    cpu = own.rate("process_cpu_seconds_total")
    lag = own.quantiles("parley_event_loop_lag_seconds")
    failed = sum(rate for _, _, _, rate in own.errors() if rate is not None)
    return (
        *(name, endpoint.address, Text("up", "green"), "-" if cpu is None else f"{cpu:.0%}"),
        f"{own.gauge('process_resident_memory_bytes') / 1e6:,.0f} MB",
        f"{own.gauge('parley_rpc_server_running'):,.0f}",
        Text(_rate(failed), "red") if failed else "0",
        _span(lag, lag.p95),
    )


def _stages(figures: Figures) -> Section:
    """How long turns take, by stage."""

    def row(name: Text | str, found: Quantiles, rank: int) -> Row:
        cells = (name, _span(found, found.p50), _span(found, found.p95), _dimmed(found, f"{found.count:,.0f}"))
        return Row(cells, rank)

    rows = [row(Text("Response", "bold"), figures.quantiles("parley_turn_response_seconds"), 0)]
    for stage, title in STAGE_TITLES.items():
        rows.append(row(title, figures.quantiles("parley_turn_stage_seconds", stage=stage), 2))
    rows.append(row("Interruption to stop", figures.quantiles("parley_barge_in_stop_seconds"), 4))
    return Section(("turns",), ("p50", "p95", "turns"), tuple(rows))


def _work(figures: Figures) -> Section:
    """What the services do, and what waits for them."""
    rows: tuple[tuple[str, Text | str, int], ...] = (
        ("sessions", f"{figures.gauge('parley_sessions_active'):,.0f}", 1),
        (
            "turns a minute",
            _a_minute(figures, "parley_turns_total", "completed", "cancelled", "incomplete", "failed"),
            2,
        ),
        ("begun at a pause", _a_minute(figures, "parley_speculations_total", "confirmed", "discarded"), 4),
        ("language model", _queue(figures, "parley_llm_requests_running", "parley_llm_requests_waiting"), 1),
        ("  tokens a second", _tokens(figures), 3),
        ("  first token", _pair(figures.quantiles("gen_ai_server_time_to_first_token_seconds")), 5),
        (
            "speech to text",
            f"{figures.gauge('parley_stt_active_streams'):,.0f} streams; recordings: "
            + _queue(figures, "parley_stt_transcriptions_running", "parley_stt_transcriptions_waiting"),
            1,
        ),
        ("  final transcript", _pair(figures.quantiles("parley_stt_finalization_delay_seconds")), 5),
        ("  real-time factor", _pair(figures.quantiles("parley_stt_real_time_factor"), seconds=False), 6),
        ("text to speech", _queue(figures, "parley_tts_active_streams", "parley_tts_requests_waiting"), 1),
        ("  first audio", _pair(figures.quantiles("parley_tts_time_to_first_byte_seconds")), 5),
        ("  real-time factor", _pair(figures.quantiles("parley_tts_real_time_factor"), seconds=False), 6),
    )
    return Section(("work", ""), (), tuple(Row((name, value), rank) for name, value, rank in rows))


def _errors(figures: Figures) -> Part:
    found = figures.errors()
    if not found:
        return Text("No call has failed.", "dim")

    def row(method: str, code: str, count: float, rate: float | None) -> tuple[Text, ...]:
        return tuple(Text(cell, "red" if rate else "dim") for cell in (method, code, f"{count:,.0f}", _rate(rate)))

    rows = tuple(Row(row(*errors), rank=3 if place else 0) for place, errors in enumerate(found[:MOST_ERRORS]))
    return (Section(("failed calls", "status"), ("since the start", "a second"), rows),)


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
