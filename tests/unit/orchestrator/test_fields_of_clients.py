"""What a service complains of, in the words of the orchestrator's client."""

import pytest

from orchestrator.stages.calls import field_of_client


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
