"""docs/metrics.md says what the code says, and promtool finds nothing wrong with the names."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from prometheus_client import generate_latest

from services.common.metrics import SECONDS_BUCKETS

ROOT = Path(__file__).resolve().parents[3]
PROMTOOL = shutil.which("promtool")
CLIENT_TEXT = ("text", "prompt", "transcript", "voice", "session", "conversation", "user", "client", "peer")
"""What a label must not be of: what a client chose, and what there is without bound."""

GEN_AI = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
CALL = ("method", "code")
STABLE: dict[str, dict[str, tuple[str, ...]]] = {
    "Every program": {
        "parley_rpc_server_duration_seconds": CALL,
        "parley_event_loop_lag_seconds": (),
        "parley_build_info": ("service", "version", "python"),
    },
    "parley-orchestrator": {
        "parley_turn_response_seconds": (),
        "parley_turn_stage_seconds": ("stage",),
        "parley_barge_in_stop_seconds": (),
        "parley_turns_total": ("outcome",),
        "parley_interruptions_total": ("outcome",),
        "parley_speculations_total": ("outcome",),
        "parley_speculation_saved_seconds_total": (),
        "parley_speculation_wasted_characters_total": (),
        "parley_speculation_wasted_audio_seconds_total": (),
        "parley_sessions_active": (),
        "parley_session_seconds": (),
        "parley_rpc_client_duration_seconds": CALL,
    },
    "parley-stt": {
        "parley_stt_time_to_first_interim_seconds": (),
        "parley_stt_finalization_delay_seconds": (),
        "parley_stt_endpointing_delay_seconds": (),
        "parley_stt_real_time_factor": ("kind",),
        "parley_stt_audio_seconds_total": (),
        "parley_stt_active_streams": (),
    },
    "parley-llm": {
        "gen_ai_server_request_duration_seconds": (*GEN_AI, "error_type"),
        "gen_ai_server_time_to_first_token_seconds": GEN_AI,
        "gen_ai_server_time_per_output_token_seconds": GEN_AI,
        "gen_ai_client_token_usage": (*GEN_AI, "gen_ai_token_type"),
        "gen_ai_client_operation_duration_seconds": (*GEN_AI, "error_type"),
        "parley_llm_time_to_first_segment_seconds": (),
        "parley_llm_queue_seconds": (),
        "parley_llm_inter_token_seconds": (),
        "parley_llm_requests_running": (),
        "parley_llm_requests_waiting": (),
        "parley_llm_tokens_total": ("type",),
        "parley_llm_cancelled_total": (),
        "parley_llm_compaction_seconds": ("outcome",),
        "parley_llm_prefix_cache_hit_tokens_total": (),
        "parley_llm_prefix_cache_bytes": (),
    },
    "parley-tts": {
        "parley_tts_time_to_first_byte_seconds": (),
        "parley_tts_time_to_first_audible_sample_seconds": (),
        "parley_tts_real_time_factor": (),
        "parley_tts_characters_total": (),
        "parley_tts_active_streams": (),
    },
}


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("metric_tables", ROOT / "tools" / "metric_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_metrics_is_what_the_code_says() -> None:
    command = (sys.executable, "tools/metric_tables.py", "--check")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("program", STABLE)
def test_what_dashboards_of_others_are_built_on_is_there(tables: ModuleType, program: str) -> None:
    """Names, labels and buckets are what users rely on: a change here breaks their dashboards and alerts."""
    registry = tables.registry_of(program)
    assert {name: registry.labels.get(name.removesuffix("_total")) for name in STABLE[program]} == STABLE[program]


def test_durations_have_buckets_where_voice_lives() -> None:
    listed = ".001 .005 .01 .02 .04 .06 .08 .1 .15 .2 .25 .3 .4 .5 .75 1 1.5 2.5 5 7.5 10"
    assert [float(bound) for bound in listed.split()] == list(SECONDS_BUCKETS)


def test_programs_have_no_metric_of_the_same_name_twice(tables: ModuleType) -> None:
    seen: dict[str, str] = {}
    for program in tables.PROGRAMS:
        for family in tables.registry_of(program).collect():
            assert seen.setdefault(family.name, program) == program


def test_no_label_is_of_what_clients_choose(tables: ModuleType) -> None:
    for program in tables.PROGRAMS:
        for name, labels in tables.registry_of(program).labels.items():
            for label in labels:
                assert not any(word in label for word in CLIENT_TEXT), f"{name}{{{label}}}"


@pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian: prometheus) is not installed")
def test_promtool_finds_nothing_wrong(tables: ModuleType) -> None:
    assert PROMTOOL is not None
    for program in tables.PROGRAMS:
        text = generate_latest(tables.registry_of(program))
        assert text
        done = subprocess.run((PROMTOOL, "check", "metrics"), input=text, capture_output=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), program
