"""deploy/prometheus and deploy/grafana at work: a real Prometheus scrapes the four programs during a load run, and
every query of the dashboard, the rules and the alerts is asked of it.
"""

import asyncio
from pathlib import Path

import numpy as np
import soundfile

from cli.load import records
from cli.report.summary import answered_turns
from tests.support.commands import parley
from tests.support.dialects import Chat
from tests.support.fault_server import MODEL, answering, fault_server, streaming
from tests.support.microphone import RATE_HZ
from tests.support.prometheus import Prometheus, dashboard_queries, needs_prometheus, prometheus, rules
from tests.support.stack import fake_stack
from tests.support.talking import converse, noise

DATA_TIMEOUT_S = 60.0
ON = ("--metrics_port=0",)
BUSY = answering(503, {"error": {"message": "busy"}}, retry_after="0")
ANSWER = streaming(Chat().answer("An answer ", "of some ", "length."))


async def until_data(server: Prometheus, queries: list[str]) -> None:
    """Wait until each query has an answer."""
    missing = queries
    try:
        async with asyncio.timeout(DATA_TIMEOUT_S):
            while missing := [query for query in missing if not await server.query(query)]:
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError("no data for\n" + "\n".join(missing)) from None


async def load(target: str, folder: Path) -> records.Run:
    """`parley load`: two callers, who interrupt their first answer."""
    recording = folder / "speech.wav"
    soundfile.write(recording, np.frombuffer(noise(0.6), np.int16), RATE_HZ)
    words = ("--sessions=2", "--turns=2", "--ramp_s=0", "--pause_s=0.1", "--barge_in=1", "--barge_in_after_s=0.2")
    async with parley("load", "--file", str(recording), "--target", target, "--out", str(folder), *words) as run:
        code, _, errors = await run.ended()
    assert (code, errors) == (0, "")
    return records.read(folder)


@needs_prometheus
async def test_every_query_of_dashboard_and_rules_has_data_after_a_load_run(tmp_path: Path) -> None:
    async with fault_server() as provider:
        provider.play(ANSWER, BUSY, ANSWER)
        llm = ("--llm_backend=chat-completions", f"--model_name={MODEL}", f"--responses_api_base_url={provider.url}")
        async with (
            fake_stack(
                orchestrator=ON,
                stt=ON,
                llm=(*ON, *llm, "--chat_size=1"),  # so that there are summaries, too
                tts=(*ON, "--fake_tts_ms_per_character=100"),
            ) as stack,
            prometheus(stack.values()) as server,
        ):
            await until_data(server, [f'parley_build_info{{service="{name}"}}' for name in stack])
            address = stack["orchestrator"].address
            run, _ = await asyncio.gather(load(address, tmp_path), converse(address))
            queries = dashboard_queries() + [rule["record"] for rule in rules() if "record" in rule]
            await until_data(server, queries)

            groups = (await server.get("rules"))["groups"]
            at_work = [rule for group in groups for rule in group["rules"]]
            assert {rule["name"]: (rule["health"], rule.get("lastError")) for rule in at_work} == {
                rule.get("record") or rule["alert"]: ("ok", None) for rule in rules()
            }
            for rule in rules():
                if "alert" in rule:
                    await server.query(rule["expr"])
            (scraped,) = await server.query('sum(up{job="parley"})')
    assert scraped == 4
    figures = f"{len(queries)} queries with data, {scraped:.0f} programs, {len(answered_turns(run))} turns answered"
    print(figures)  # noqa: T201  shown by pytest -rP
