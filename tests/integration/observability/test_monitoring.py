"""deploy/prometheus and deploy/grafana at work: a real Prometheus scrapes the four programs while they are talked to,
and every query of the dashboard, the rules and the alerts is asked of it.
"""

import asyncio

from tests.support.prometheus import Prometheus, dashboard_queries, needs_prometheus, prometheus, rules
from tests.support.stack import fake_stack
from tests.support.talking import converse

DATA_TIMEOUT_S = 60.0


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
        await asyncio.gather(*(converse(stack["orchestrator"].address) for _ in range(3)))
        await until_data(server, dashboard_queries() + [rule["record"] for rule in rules() if "record" in rule])

        groups = (await server.get("rules"))["groups"]
        at_work = [rule for group in groups for rule in group["rules"]]
        assert {rule["name"]: (rule["health"], rule.get("lastError")) for rule in at_work} == {
            rule.get("record") or rule["alert"]: ("ok", None) for rule in rules()
        }
        for rule in rules():
            if "alert" in rule:
                await server.query(rule["expr"])
