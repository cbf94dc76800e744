"""The services' logs for a person."""

import json

from cli.log_lines import readable


def test_json_becomes_a_line_with_its_details() -> None:
    entry = {
        "time": "2026-11-22 15:03:07,123",
        "level": "INFO",
        "logger": "services.common.server",
        "message": "listening",
        "service": "stt",
        "port": 50051,
    }
    assert readable("stt", json.dumps(entry)) == "15:03:07 stt          info    listening port=50051"


def test_a_stack_trace_follows_its_line() -> None:
    line = json.dumps({"level": "ERROR", "message": "call failed", "exc_info": "Traceback\nValueError"})
    assert readable("llm", line).endswith("call failed\nTraceback\nValueError")


def test_what_is_no_json_stays_as_it_is() -> None:
    assert readable("tts", "parley-tts: no such voice") == "tts          parley-tts: no such voice"
    assert readable("tts", "[1]").endswith("[1]")
