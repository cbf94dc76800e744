"""What `parley up` starts for a command line."""

import sys
from pathlib import Path

import pytest

from cli.errors import USAGE, CliError
from cli.plan import FREE_PORTS, StackPlan, plan_stack


def commands(plan: StackPlan) -> dict[str, list[str]]:
    return {launch.program.name: list(launch.command) for launch in plan.launches}


def flags(plan: StackPlan, program: str) -> dict[str, str]:
    """The flags that a program is started with; of two values the last one counts, as for the program."""
    words = commands(plan)[program][3:]
    return dict(word.removeprefix("--").split("=", 1) for word in words)


def test_each_program_is_a_module_of_this_python_on_its_own_port() -> None:
    plan = plan_stack([], {})
    starts = {name: command[:3] for name, command in commands(plan).items()}
    assert starts == {
        "stt": [sys.executable, "-m", "services.stt"],
        "llm": [sys.executable, "-m", "services.llm"],
        "tts": [sys.executable, "-m", "services.tts"],
        "orchestrator": [sys.executable, "-m", "orchestrator"],
    }
    ports = {name: flags(plan, name)["port"] for name in starts}
    assert ports == {"stt": "50051", "llm": "50052", "tts": "50053", "orchestrator": "50050"}
    assert {flags(plan, name)["log_format"] for name in starts} == {"json"}


def test_the_page_is_served_where_the_stack_is_at_its_usual_ports() -> None:
    plan = plan_stack([], {})
    assert (plan.page, flags(plan, "orchestrator")["realtime_port"]) == ("http://127.0.0.1:50080/", "50080")
    assert plan_stack(["--realtime_port", "8080"], {}).page == "http://127.0.0.1:8080/"
    assert plan_stack(["--realtime_port", "-1"], {}).page == ""
    assert "realtime_port" not in flags(plan_stack([], FREE_PORTS), "orchestrator")


def test_the_language_model_is_the_embedded_one() -> None:
    llm = flags(plan_stack([], {}), "llm")
    assert llm["llm_backend"] == "transformers"
    assert llm["model_name"] == "package:smollm2-135m-instruct"
    assert llm["llm_quantization"] == "int8"


def test_the_embedded_model_is_kept_from_repeating_itself_for_minutes() -> None:
    assert flags(plan_stack([], {}), "llm")["llm_gen_repetition_penalty"] == "1.1"
    assert flags(plan_stack(["--llm_gen_max_new_tokens", "7"], {}), "llm")["llm_gen_max_new_tokens"] == "7"
    assert "llm_gen_max_new_tokens" not in flags(plan_stack(["--model_name", "some/model"], {}), "llm")


@pytest.mark.parametrize("words", [["--llm_device", "cuda"], ["--llm_torch_dtype", "bfloat16"]])
def test_the_embedded_model_is_loaded_as_the_user_wants_it(words: list[str]) -> None:
    assert "llm_quantization" not in flags(plan_stack(words, {}), "llm")


def test_another_model_keeps_its_own_type() -> None:
    llm = flags(plan_stack(["--model_name", "some/model"], {}), "llm")
    assert (llm["llm_backend"], llm["model_name"]) == ("transformers", "some/model")
    assert "llm_quantization" not in llm


@pytest.mark.parametrize("source", ["flag", "environment", "file"])
def test_a_backend_that_the_user_chose_is_left_alone(
    source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "parley.yaml").write_text("llm_backend: fake\n")
    if source == "environment":
        monkeypatch.setenv("PARLEY_LLM_BACKEND", "fake")
    words = ["--llm_backend", "fake"] if source == "flag" else []
    plan = plan_stack(words, {}, tmp_path / "parley.yaml" if source == "file" else None)
    assert flags(plan, "llm").get("llm_backend", "fake") == "fake"
    assert "model_name" not in flags(plan, "llm")


def test_flags_reach_the_programs_that_have_them_and_no_other() -> None:
    plan = plan_stack(["--tts", "fake", "--llm_gen_top_k", "5", "--log_level", "debug"], {})
    holders = {name for name in commands(plan) if "tts" in flags(plan, name)}
    assert holders == {"tts"}
    assert flags(plan, "llm")["llm_gen_top_k"] == "5"
    assert all(flags(plan, name)["log_level"] == "debug" for name in commands(plan))


def test_a_configuration_file_goes_to_all(tmp_path: Path) -> None:
    path = tmp_path / "parley.yaml"
    path.write_text("tts: fake\nport: 6000\n")
    plan = plan_stack([], {}, path)
    assert {flags(plan, name)["config"] for name in commands(plan)} == {str(path)}
    ports = {name: flags(plan, name)["port"] for name in commands(plan)}
    assert ports == {"stt": "50051", "llm": "50052", "tts": "50053", "orchestrator": "6000"}


def test_ports_of_the_command_line_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_PORT", "6000")
    assert flags(plan_stack([], {}), "orchestrator")["port"] == "6000"
    plan = plan_stack([], {"orchestrator": 7000, "stt": 0})
    assert (flags(plan, "orchestrator")["port"], flags(plan, "stt")["port"]) == ("7000", "0")


def test_free_ports_are_free_for_all() -> None:
    plan = plan_stack([], FREE_PORTS)
    assert {flags(plan, name)["port"] for name in commands(plan)} == {"0"}


def test_each_program_has_a_metrics_port_of_its_own() -> None:
    plan = plan_stack(["--metrics_port", "9000"], {})
    ports = {name: flags(plan, name)["metrics_port"] for name in commands(plan)}
    assert ports == {"orchestrator": "9000", "stt": "9001", "llm": "9002", "tts": "9003"}


def test_metrics_are_served_where_parley_top_looks_for_them_unless_ports_were_chosen() -> None:
    plan = plan_stack([], {"tts": 0})
    ports = {name: flags(plan, name).get("metrics_port") for name in commands(plan)}
    assert ports == {"orchestrator": "9464", "stt": "9465", "llm": "9466", "tts": None}
    off = plan_stack(["--metrics_port", "-1"], {})
    assert {flags(off, name)["metrics_port"] for name in commands(off)} == {"-1"}


def test_a_service_that_runs_elsewhere_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_LLM_TARGET", "gpu.host:50052")
    plan = plan_stack(["--tts_target", "other.host:1", "--insecure"], {})
    assert set(commands(plan)) == {"stt", "orchestrator"}
    assert plan.targets == {"llm": "gpu.host:50052", "tts": "other.host:1"}


def test_who_listens_everywhere_is_reached_here() -> None:
    with pytest.raises(CliError, match=r"--host 0\.0\.0\.0 would serve other machines without encryption"):
        plan_stack(["--host", "0.0.0.0"], {})
    plan = plan_stack(["--host", "0.0.0.0", "--insecure"], {})
    assert {launch.host for launch in plan.launches} == {"127.0.0.1"}
    assert flags(plan, "stt")["host"] == "0.0.0.0"


def test_a_drain_is_short_unless_the_user_wants_it_longer() -> None:
    assert flags(plan_stack([], {}), "stt")["drain_grace_s"] == "5.0"
    patient = plan_stack(["--drain_grace_s", "60", "--drain_wait_s", "3"], {})
    assert flags(patient, "stt")["drain_grace_s"] == "60"
    assert {launch.grace_s for launch in patient.launches} == {68.0}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--tts", "nonsense"], "--tts: .*hibari"),
        (["--stt_modl_name", "x"], "unknown flag --stt_modl_name; did you mean --stt_model_name"),
        (["--log_format", "text"], "--log_format is not for `parley up`"),
        (["--generation_options", "{}"], "unknown flag --generation_options"),
    ],
)
def test_wrong_flags_are_known_before_anything_starts(words: list[str], line: str) -> None:
    with pytest.raises(CliError, match=line) as raised:
        plan_stack(words, {})
    assert raised.value.exit_code == USAGE


def test_a_wrong_name_in_the_environment_is_known_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_TTS_VOICES", "x")
    with pytest.raises(CliError, match="unknown environment variable PARLEY_TTS_VOICES; did you mean PARLEY_TTS_VOICE"):
        plan_stack([], {})


def test_a_missing_configuration_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CliError, match=r"cannot read .*none\.yaml"):
        plan_stack([], {}, tmp_path / "none.yaml")


def test_with_tls_health_is_asked_for_beside_it_and_the_page_is_https() -> None:
    plan = plan_stack(
        ["--tls_cert", "a.crt", "--tls_key", "a.key", "--tls_ca", "ca.crt", "--realtime_port", "8080"], {}
    )
    assert {flags(plan, name)["health_port"] for name in commands(plan)} == {"0"}
    assert "tls_ca" not in flags(plan, "stt")
    assert plan.page == "https://127.0.0.1:8080/"
