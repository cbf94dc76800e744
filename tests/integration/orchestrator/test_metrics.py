"""The pages that Prometheus reads, after one conversation through all four programs."""

import asyncio
import shutil

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.common.turn_stages import STAGES
from tests.support.stack import conversation, fake_stack

PROMTOOL = shutil.which("promtool")
ON = ("--metrics_port=0",)
QUESTION = "a question that nobody else asks"


def values(page: str) -> dict[tuple[str, str], float]:
    """Each sample by its name and the values of its labels, in the order of their names, with commas."""
    return {
        (sample.name, ",".join(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


async def check(page: str) -> None:
    """What promtool says of a page."""
    assert PROMTOOL is not None
    pipe = asyncio.subprocess.PIPE
    promtool = await asyncio.create_subprocess_exec(PROMTOOL, "check", "metrics", stdin=pipe, stdout=pipe, stderr=pipe)
    said = await promtool.communicate(page.encode())
    assert (promtool.returncode, said) == (0, (b"", b""))


async def test_a_conversation_leaves_its_times_in_every_program() -> None:
    flags = ("--metrics_port=0", f"--fake_transcript={QUESTION}")
    async with fake_stack(orchestrator=ON, stt=flags, llm=ON, tts=ON) as servers:
        async with conversation(servers["orchestrator"].address) as client:
            for _ in range(10):
                await client.append()
            await client.commit()
            await client.until("response_done")
            await client.rest()
        pages = dict(
            zip(servers, await asyncio.gather(*(server.metrics_page() for server in servers.values())), strict=True)
        )

    found = {name: values(page) for name, page in pages.items()}
    turns = found["orchestrator"]
    assert turns["parley_turns_total", "completed"] == 1
    assert turns["parley_turn_response_seconds_count", ""] == 1
    spent = [turns.get(("parley_turn_stage_seconds_sum", stage), 0.0) for stage in STAGES]
    assert sum(spent) == pytest.approx(turns["parley_turn_response_seconds_sum", ""])
    called = {labels.rpartition("/")[2] for name, labels in turns if "rpc_client" in name}
    assert {"StreamingTranscribe", "Generate", "Synthesize", "CommitResponse"} <= called
    assert found["llm"]["parley_llm_queue_seconds_count", ""] == 1
    assert found["llm"]["gen_ai_server_request_duration_seconds_count", ",chat,fake,fake"] == 1
    assert found["tts"]["parley_tts_time_to_first_byte_seconds_count", ""] >= 1
    assert found["tts"]["parley_tts_time_to_first_audible_sample_seconds_count", ""] >= 1
    assert found["stt"]["parley_stt_audio_seconds_total", ""] == pytest.approx(1.0)
    assert found["stt"]["parley_stt_finalization_delay_seconds_count", ""] == 1
    for name, page in pages.items():
        assert found[name]["parley_event_loop_lag_seconds_count", ""] > 0
        assert 'parley_build_info{python="' in page
        assert f'service="{name}"' in page
        assert QUESTION not in page
        if PROMTOOL is not None:
            await check(page)
