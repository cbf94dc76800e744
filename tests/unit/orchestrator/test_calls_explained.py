"""What a service complains of, and that it is down, in the words of the orchestrator's client."""

import grpc
import pytest

from orchestrator.stages.calls import explain, field_of_client
from services.common.errors import ParleyError, StoreUnavailableError, UpstreamError, UpstreamTimeoutError
from services.common.status import to_status


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("config.config.language_code", "session.language_code"),
        ("config.endpointing.min_silence", "session.turn_detection.endpointing.min_silence"),
        ("config.audio_format.sample_rate_hertz", "session.input_audio_format.sample_rate_hertz"),
        ("tools[2].name", "session.tools[2].name"),
        ("voice", "session.voice"),
        ("text", "text"),
    ],
)
def test_the_field_is_named_as_the_client_set_it(theirs: str, ours: str) -> None:
    assert field_of_client(theirs) == ours


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            UpstreamTimeoutError("the provider has sent no token within 20 s"),
            ": the provider has sent no token within 20 s",
        ),
        (UpstreamError("the provider is not reachable"), ": the provider is not reachable"),
        (StoreUnavailableError("the store is not reachable"), " is not ready: the store is not reachable"),
    ],
)
def test_what_a_service_says_of_those_behind_it_is_its_own_word(error: ParleyError, message: str) -> None:
    status = to_status(error)
    metadata = grpc.aio.Metadata(*status.trailing_metadata)
    told = grpc.aio.AioRpcError(status.code, grpc.aio.Metadata(), metadata, status.details)
    assert explain(told, "language model").message == f"the language model service{message}"


def test_a_service_that_says_nothing_is_not_reachable() -> None:
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "Socket closed")
    assert explain(error, "language model").message == "the language model service is not reachable"
