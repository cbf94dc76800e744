"""What a barge-in stops, as the servers' own metrics tell it: the four real programs on fakes."""

from parley.agent.v1 import agent_service_pb2 as pb
from prometheus_client.parser import text_string_to_metric_families

from tests.support.servers import RunningServer
from tests.support.stack import conversation, fake_stack

GENERATE = "/parley.llm.v1.LanguageModelService/Generate"
SYNTHESIZE = "/parley.tts.v1.TextToSpeechService/Synthesize"
METRICS = "--metrics_port=0"
NO_APOLOGY = "--apology_text="  # which is synthesized ahead, and so at times beside what is counted here


async def metric(server: RunningServer, name: str, **labels: str) -> float:
    text = await server.metrics_page()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


async def until_idle(server: RunningServer, method: str) -> None:
    while await metric(server, "parley_rpc_server_running", method=method):
        continue


async def test_a_cancelled_response_stops_the_language_model_and_the_speech() -> None:
    endless = ("--fake_token_ms=20", f"--fake_answer={'A sentence that goes on and on. ' * 100}", METRICS)
    # More audio than gRPC takes ahead of its reader, which on loopback is megabytes.
    long = ("--fake_tts_ms_per_character=20000", METRICS)
    async with (
        fake_stack(llm=endless, tts=long, orchestrator=(METRICS, NO_APOLOGY)) as stack,
        conversation(stack["orchestrator"].address) as client,
    ):
        await client.append()
        await client.commit()
        await client.until("response_output_audio_delta")
        assert await metric(stack["llm"], "parley_rpc_server_running", method=GENERATE) == 1
        assert await metric(stack["tts"], "parley_rpc_server_running", method=SYNTHESIZE) == 1
        await client.send(response_cancel=pb.ResponseCancel())
        assert (await client.until("response_done")).status == pb.RESPONSE_STATUS_CANCELLED
        await until_idle(stack["llm"], GENERATE)
        await until_idle(stack["tts"], SYNTHESIZE)
        for name, method in (("llm", GENERATE), ("tts", SYNTHESIZE)):
            ended = "parley_rpc_server_duration_seconds_count"
            assert await metric(stack[name], ended, method=method, code="CANCELLED") == 1
        assert await metric(stack["orchestrator"], "parley_turns_total", outcome="cancelled") == 1
