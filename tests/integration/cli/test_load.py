"""`parley load`, its report, and `parley top`, on four real programs with fake engines."""

import asyncio
import io
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image

from cli.load import records
from cli.report.summary import RESPONSE_TITLE, answered_turns, summarize
from services.common.turn_stages import stage_seconds
from tests.support.browser import browser_page, needs_chromium
from tests.support.commands import parley
from tests.support.servers import RunningServer
from tests.support.stack import fake_stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

SESSIONS, TURNS, PLACES = 20, 2, 19
METRICS = ("--metrics_port=0",)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[dict[str, RunningServer]]:
    """The four programs; there is a place too few for all sessions."""
    flags = {"stt": METRICS, "llm": METRICS, "tts": (*METRICS, "--fake_tts_ms_per_character=40")}
    async with fake_stack(orchestrator=(*METRICS, f"--max_sessions={PLACES}"), **flags) as servers:
        yield servers


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def folder(
    stack: dict[str, RunningServer], question: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """What a load run left, and what it printed."""
    out = tmp_path_factory.mktemp("load") / "run"
    words = ("--sessions", str(SESSIONS), "--turns", str(TURNS), "--ramp_s", "1", "--pause_s", "0.1")
    interruptions = ("--barge_in", "0.5", "--barge_in_after_s", "0.2")
    target = stack["orchestrator"].address
    async with parley(
        *("load", "--file", str(question), "--target", target, "--out", str(out), *words, *interruptions)
    ) as load:
        code, printed, errors = await load.ended()
    assert (code, errors) == (0, "")
    return out, printed


async def test_every_turn_of_every_session_is_measured(folder: tuple[Path, str]) -> None:
    run = records.read(folder[0])
    summary = summarize(run)
    interrupted = sum(len(run.began.plan.interrupted(session.session)) for session in run.sessions_began)
    assert summary.outcomes == {"completed": PLACES * TURNS - interrupted, "cancelled": interrupted}, run.sessions_ended
    assert (summary.most_sessions, interrupted > 0) == (PLACES, True)
    for turn in answered_turns(run):
        spent = sum(stage_seconds(turn.steps).values())
        assert spent == pytest.approx(turn.steps["first_audio"])
        assert turn.response_s is not None
        assert turn.response_s > spent - 0.02, "the caller hears nothing before it is sent"
        assert (turn.stopped_s is not None) == (turn.outcome == "cancelled")
    assert run.ended is not None
    assert not run.ended.stopped


async def test_the_session_without_a_place_is_counted_by_its_status(folder: tuple[Path, str]) -> None:
    out, printed = folder
    (refused,) = [session for session in records.read(out).sessions_ended if session.status != records.OK]
    assert (refused.status, refused.message) == ("RESOURCE_EXHAUSTED", "too many sessions at once")
    assert "1 × RESOURCE_EXHAUSTED: too many sessions at once" in printed
    assert RESPONSE_TITLE in printed


async def test_the_report_can_be_made_again(folder: tuple[Path, str], tmp_path: Path) -> None:
    out, _ = folder
    again = tmp_path / "again.html"
    async with parley("report", str(out), "-o", str(again)) as report:
        code, printed, errors = await report.ended()
    assert (code, errors) == (0, "")
    assert RESPONSE_TITLE in printed
    assert "1 × RESOURCE_EXHAUSTED: too many sessions at once" in printed
    assert again.read_text() == (out / "report.html").read_text()


@pytest.mark.parametrize("kept", [records.FILE_NAME, records.PAGE_NAME])
async def test_the_results_of_an_earlier_run_are_not_overwritten(
    stack: dict[str, RunningServer], question: Path, tmp_path: Path, kept: str
) -> None:
    (tmp_path / kept).write_text("of an earlier run")
    words = ("--sessions", "1", "--file", str(question), "--target", stack["orchestrator"].address)
    async with parley("load", "--out", str(tmp_path), *words) as load:
        code, printed, errors = await load.ended()
    assert (code, printed) == (2, "")
    assert errors == f"parley: --out: {tmp_path} has the results of an earlier run; name another folder\n"
    assert os.listdir(tmp_path) == [kept]
    assert (tmp_path / kept).read_text() == "of an earlier run"


@needs_chromium
async def test_the_report_opens_in_a_browser_and_its_screenshot_shows_the_plots(folder: tuple[Path, str]) -> None:
    async with browser_page() as (page, complaints):
        await page.goto((folder[0] / "report.html").as_uri())
        assert "Load run" in await page.title()
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        boxes = await page.locator("svg[role=img]").evaluate_all("plots => plots.map(p => p.getBoundingClientRect())")
        assert len(boxes) == 12
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            picture = Image.open(io.BytesIO(await page.screenshot(full_page=True))).convert("RGB")
            assert (sum(picture.getpixel((2, 2))) < 200) == (scheme == "dark")
            for box in boxes:
                assert box["width"] > 300
                assert box["height"] > 20
                plot = picture.crop(tuple(round(box[side]) for side in ("left", "top", "right", "bottom")))
                # Some colours that each cover something: the paper, the ink, and what is drawn.
                covering = [colour for count, colour in plot.getcolors(1 << 20) if count > 25]
                assert len(covering) >= 3
    assert complaints == []


async def test_ctrl_c_ends_a_run_early_and_the_report_is_there(
    stack: dict[str, RunningServer], question: Path, tmp_path: Path
) -> None:
    words = ("--sessions", "2", "--turns", "1000", "--ramp_s", "0", "--target", stack["orchestrator"].address)
    async with parley("load", "--file", str(question), "--out", str(tmp_path), *words) as load:
        await load.until("Ctrl-C ends it early")
        path = tmp_path / records.FILE_NAME
        while '"completed"' not in path.read_text():
            await asyncio.sleep(0.05)
        load.process.send_signal(signal.SIGINT)
        code, printed, errors = await load.ended()
    assert (code, errors) == (0, "")
    assert "The run was stopped before its end." in printed
    statuses = [json.loads(line) for line in path.read_text().splitlines()]
    assert {record["status"] for record in statuses if record["kind"] == "session_ended"} == {records.STOPPED}
    assert "The run was stopped before its end." in (tmp_path / "report.html").read_text()


async def test_top_shows_every_program_once_and_who_is_down(
    stack: dict[str, RunningServer], folder: tuple[Path, str]
) -> None:
    addresses = [f"127.0.0.1:{server.metrics_port}" for server in stack.values()]
    not_metrics = stack["orchestrator"].address
    async with parley(
        "top", "--once", "--interval_s", "0.2", "--metrics", ",".join([*addresses, not_metrics, "127.0.0.1:1"])
    ) as top:
        code, printed, errors = await top.ended()
    assert (code, errors) == (0, "")
    rows = {line.split()[0]: line.split() for line in printed.splitlines() if line.strip()}
    for name, address in zip(stack, addresses, strict=True):
        assert rows[name][1:3] == [address, "up"]
    assert rows["?"][1:3] == ["127.0.0.1:1", "down"]
    assert "127.0.0.1:1: connection refused" in printed
    assert f"{not_metrics}: what answers there is no program of Parley" in printed
    answered = int(rows["Response"][-1])
    assert answered >= 38
    assert rows["Converse"][:3] == ["Converse", "RESOURCE_EXHAUSTED", "1"]
    assert "p50" in printed


async def test_top_fails_where_nothing_is_up() -> None:
    async with parley("top", "--once", "--interval_s", "0.1", "--metrics", "127.0.0.1:1,127.0.0.1:2") as top:
        code, printed, errors = await top.ended()
    assert code == 1
    assert "127.0.0.1:2: connection refused" in printed
    assert errors == "parley: no program is up; `parley up` starts them, --metrics says where theirs are\n"
