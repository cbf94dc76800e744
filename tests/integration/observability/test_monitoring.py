"""deploy/prometheus and deploy/grafana at work: a real Prometheus scrapes the four programs while they are talked to,
and every query of the dashboard, the rules and the alerts is asked of it.
"""

import asyncio

import numpy as np
from parley.agent.v1 import agent_service_pb2 as pb

from tests.support.microphone import RATE_HZ, open_microphone
from tests.support.prometheus import Prometheus, dashboard_queries, needs_prometheus, prometheus, rules
from tests.support.stack import conversation, fake_stack

DATA_TIMEOUT_S = 60.0
VOICE = pb.TurnDetection(mode=pb.TurnDetection.MODE_SERVER_VAD)


def noise(seconds: float) -> bytes:
    """What the fake's detector takes for speech."""
    samples = np.random.default_rng(0).normal(0, 8000, round(seconds * RATE_HZ)).clip(-32767, 32767)
    return bytes(samples.astype(np.int16).tobytes())


async def talk(address: str) -> None:
    """A session with all that a dashboard shows: an answer that is interrupted while it is spoken, one that is begun at
    a pause for nothing, and one that follows.
    """
    async with conversation(address, turn_detection=VOICE) as client, open_microphone(client) as microphone:
        microphone.say(noise(0.6))
        await client.until("response_output_audio_delta")
        microphone.say(noise(1.5) + bytes(2 * RATE_HZ // 4) + noise(0.6))
        assert (await client.until("response_done")).status == pb.RESPONSE_STATUS_CANCELLED
        await client.until("response_output_audio_delta")


async def until_data(server: Prometheus, queries: list[str]) -> None:
    """Wait until each query has an answer."""
    missing = queries
    try:
        async with asyncio.timeout(DATA_TIMEOUT_S):
            while missing := [query for query in missing if not await server.query(query)]:
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError("no data for\n" + "\n".join(missing)) from None


@needs_prometheus
async def test_every_query_of_dashboard_and_rules_has_data_after_a_conversation() -> None:
    measured = ("--metrics_port=0",)
    long_answer = (*measured, "--fake_tts_ms_per_character=200")
    async with (
        fake_stack(orchestrator=measured, stt=measured, llm=measured, tts=long_answer) as stack,
        prometheus(stack.values()) as server,
    ):
        await until_data(server, [f'parley_build_info{{service="{name}"}}' for name in stack])
        await asyncio.gather(*(talk(stack["orchestrator"].address) for _ in range(3)))
        await until_data(server, dashboard_queries() + [rule["record"] for rule in rules() if "record" in rule])

        groups = (await server.get("rules"))["groups"]
        at_work = [rule for group in groups for rule in group["rules"]]
        assert {rule["name"]: (rule["health"], rule.get("lastError")) for rule in at_work} == {
            rule.get("record") or rule["alert"]: ("ok", None) for rule in rules()
        }
        for rule in rules():
            if "alert" in rule:
                await server.query(rule["expr"])
