"""Where settings come from, which source wins, and what a wrong one says."""

import importlib
import inspect
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field, model_validator

from services.common import settings as common
from services.common.flag_names import FLAG_NAMES, FLAG_PREFIXES
from services.common.settings import ServerSettings, SettingsError, load, load_or_exit, names_given, nearest
from services.llm.settings import LlmSettings
from services.stt.settings import SttSettings
from services.tts.settings import TtsSettings

PROGRAMS = ("services.stt.settings", "services.llm.settings", "services.tts.settings", "orchestrator.settings")


class TtsLike(ServerSettings):
    """A program with two flags of its own, both names that are known."""

    tts_threads: int = Field(1, ge=1, description="threads")
    tts_voice: str = Field("", description="100% voice", json_schema_extra={"group": "speech"})
    quick: bool = Field(False, description="a switch")


class OpenEnded(ServerSettings):
    """A program that takes any `llm_gen_` flag."""

    open_prefix: ClassVar[str] = "llm_gen_"
    llm_gen_top_k: int = Field(50, description="a known one")
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="the others", json_schema_extra={"hidden": True}
    )

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, values: dict[str, Any]) -> dict[str, Any]:
        rest = {k: v for k, v in values.items() if k.startswith("llm_gen_") and k not in cls.model_fields}
        return {k: v for k, v in values.items() if k not in rest} | {"parameters": rest}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "FLAG_NAMES", FLAG_NAMES | {"quick"})
    for name in list(common.os.environ):
        if name.startswith(common.ENV_PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "parley.yaml"


def test_defaults_hold_where_nothing_is_said() -> None:
    settings = load(TtsLike, "parley-x", [])
    assert (settings.tts_threads, settings.host, settings.metrics_port) == (1, "127.0.0.1", -1)


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text("tts_threads: 2\ntts_voice: file\nport: 1\n")
    monkeypatch.setenv("PARLEY_TTS_VOICE", "environment")
    monkeypatch.setenv("PARLEY_TTS_THREADS", "3")
    settings = load(TtsLike, "parley-x", ["--config", str(config), "--tts_threads", "4"])
    assert (settings.tts_threads, settings.tts_voice, settings.port) == (4, "environment", 1)


def test_the_file_may_be_named_by_the_environment_and_the_command_line_wins(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text("port: 1\n")
    monkeypatch.setenv("PARLEY_CONFIG", str(config))
    assert load(TtsLike, "parley-x", []).port == 1
    (tmp_path / "other.yaml").write_text("port: 2\n")
    assert load(TtsLike, "parley-x", ["--config", str(tmp_path / "other.yaml")]).port == 2


def test_values_of_one_load_do_not_reach_the_next(config: Path) -> None:
    config.write_text("port: 1\n")
    load(TtsLike, "parley-x", ["--config", str(config)])
    assert load(TtsLike, "parley-x", []).port == 0


@pytest.mark.parametrize("flags", [["--quick"], ["--quick", "true"], ["--quick=True"], ["--quick", "1"]])
def test_a_switch_needs_no_value(flags: list[str]) -> None:
    assert load(TtsLike, "parley-x", flags).quick
    assert not load(TtsLike, "parley-x", ["--quick", "False"]).quick


def test_a_negative_value_is_no_flag() -> None:
    assert load(TtsLike, "parley-x", ["--metrics_port", "-1"]).metrics_port == -1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tts_thread", "2"], "unknown flag --tts_thread; did you mean --tts_threads?"),
        (["--zzzzzz"], "unknown flag --zzzzzz; see --help"),
        (["stray"], "unknown flag (a value without one); see --help"),
        (["--tts_threads"], "--tts_threads: expected one argument"),
        (
            ["--tts_threads", "many"],
            "--tts_threads: Input should be a valid integer, unable to parse string as an integer",
        ),
        (["--tts_threads", "0"], "--tts_threads: Input should be greater than or equal to 1"),
        (["--log_level", "loud"], "--log_level: Input should be 'debug', 'info', 'warning' or 'error'"),
        (
            ["--log_level", "warn"],
            "--log_level: Input should be 'debug', 'info', 'warning' or 'error'; did you mean warning?",
        ),
        (["--drain_grace_s", "inf"], "--drain_grace_s: Input should be a finite number"),
        (["--llm_gen_top_p", "1"], "unknown flag --llm_gen_top_p; see --help"),
    ],
)
def test_a_wrong_flag_is_named_in_one_line(flags: list[str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(TtsLike, "parley-x", flags)
    assert str(caught.value) == message


def test_an_abbreviated_flag_is_unknown() -> None:
    with pytest.raises(SettingsError, match="unknown flag --tts_thr; did you mean --tts_threads"):
        load(TtsLike, "parley-x", ["--tts_thr", "2"])


def test_an_unknown_variable_is_named_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_TTS_VIOCE", "x")
    with pytest.raises(SettingsError) as caught:
        load(TtsLike, "parley-x", [])
    assert str(caught.value) == "unknown environment variable PARLEY_TTS_VIOCE; did you mean PARLEY_TTS_VOICE?"


def test_a_variable_of_a_neighbour_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_MAX_SESSIONS", "5")
    monkeypatch.setenv("PARLEY_LLM_GEN_TOP_P", "0.5")
    load(TtsLike, "parley-x", [])


def test_a_wrong_value_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_TTS_THREADS", "many")
    with pytest.raises(SettingsError, match="--tts_threads: Input should be a valid integer"):
        load(TtsLike, "parley-x", [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tts_thread: 2\n", "unknown key in the configuration file: tts_thread; did you mean tts_threads?"),
        ("- a\n- b\n", "must hold `flag: value` lines"),
        ("1: 2\n", "must hold `flag: value` lines"),
        ("a: [\n", "is not YAML"),
        ("tts_threads: many\n", "--tts_threads: Input should be a valid integer"),
    ],
)
def test_a_wrong_file_is_explained_in_one_line(config: Path, text: str, message: str) -> None:
    config.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(TtsLike, "parley-x", ["--config", str(config)])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "unknown", "meant"),
    [
        (LlmSettings, "api_key", "responses_api_api_key"),
        (SttSettings, "api_key", "stt_api_key"),
        (TtsSettings, "api_key", "tts_api_key"),
        (LlmSettings, "thread", "llm_threads"),  # no nearer than the others' flags
        (LlmSettings, "stt_thread", "stt_threads"),  # all programs may share the file
    ],
)
def test_a_name_of_the_program_itself_is_suggested_unless_a_neighbours_is_nearer(
    config: Path, kind: type[ServerSettings], unknown: str, meant: str
) -> None:
    config.write_text(f"{unknown}: 1\n")
    with pytest.raises(SettingsError) as caught:
        load(kind, "parley-x", ["--config", str(config)])
    assert str(caught.value) == f"unknown key in the configuration file: {unknown}; did you mean {meant}?"


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("key", ["monkey", "tls_key", "tls_cert"], "tls_key"),
        ("lang", ["enable_lang_prompt", "language", "slang"], "language"),
        ("model", ["model_name", "turn_end_model", "modal"], "model_name"),
        ("max_tokens", ["fake_token_ms", "tokens_max", "llm_gen_max_new_tokens"], "llm_gen_max_new_tokens"),
        ("key", ["keyboard", "cert"], "keyboard"),
        ("tts_voices", ["tts_voice", "tts_api_voices"], "tts_voice"),
        ("key", ["cert", "kay_"], None),
        ("key", [], None),
        ("", ["key"], None),
    ],
)
def test_a_name_of_which_a_part_was_left_out_is_suggested(name: str, known: list[str], expected: str | None) -> None:
    assert nearest(name, known) == expected


def test_an_empty_file_says_nothing(config: Path) -> None:
    config.write_text("# only a comment\n")
    assert load(TtsLike, "parley-x", ["--config", str(config)]).port == 0


def test_a_file_that_cannot_be_read_is_named(config: Path) -> None:
    with pytest.raises(SettingsError, match=r"--config: cannot read .*parley.yaml: No such file"):
        load(TtsLike, "parley-x", ["--config", str(config)])
    config.write_bytes(b"port: \xff\xfe")
    with pytest.raises(SettingsError, match="is not text in UTF-8"):
        load(TtsLike, "parley-x", ["--config", str(config)])


def test_open_flags_follow_the_same_order_of_sources(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("llm_gen_a: 1\nllm_gen_b: 1\nllm_gen_c: 1\n")
    monkeypatch.setenv("PARLEY_LLM_GEN_B", "2")
    monkeypatch.setenv("PARLEY_LLM_GEN_C", "2")
    flags = ["--config", str(config), "--llm_gen_c", "-3", "--llm_gen_d=4", "--llm_gen_top_k", "7"]
    settings = load(OpenEnded, "parley-x", flags)
    assert settings.parameters == {"llm_gen_a": 1, "llm_gen_b": "2", "llm_gen_c": "-3", "llm_gen_d": "4"}
    assert settings.llm_gen_top_k == 7


def test_an_open_flag_without_a_value_is_named() -> None:
    with pytest.raises(SettingsError, match="--llm_gen_top_p needs a value"):
        load(OpenEnded, "parley-x", ["--llm_gen_top_p"])


def test_what_was_given_is_told_apart_from_the_defaults(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("port: 1\n")
    monkeypatch.setenv("PARLEY_TTS_VOICE", "x")
    flags = ["--config", str(config), "--tts_threads", "1"]
    assert names_given(TtsLike, "parley-x", flags) == {"port", "tts_voice", "tts_threads"}


def test_a_rule_over_several_flags_is_told_without_pydantics_words() -> None:
    class Strict(TtsLike):
        @model_validator(mode="after")
        def _check(self) -> "Strict":
            raise ValueError("--tts_voice does not go with --quick")

    with pytest.raises(SettingsError) as caught:
        load(Strict, "parley-x", [])
    assert str(caught.value) == "--tts_voice does not go with --quick"


def test_a_program_ends_with_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["parley-x", "--prot", "1"])
    with pytest.raises(SystemExit) as caught:
        load_or_exit(TtsLike, "parley-x")
    assert caught.value.code == 2
    assert capsys.readouterr().err == "parley-x: unknown flag --prot; did you mean --port?\n"


def test_help_lists_every_flag_in_its_group_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        load(TtsLike, "parley-x", ["--help"])
    shown = capsys.readouterr().out
    assert caught.value.code == 0
    assert "speech:\n  --tts_voice VOICE" in shown
    assert "100% voice" in shown
    assert "least severe level that is logged (default: info)" in " ".join(shown.split())


def test_the_flag_names_are_those_of_the_four_programs() -> None:
    names: set[str] = set()
    for module in map(importlib.import_module, PROGRAMS):
        kinds = [
            kind
            for _, kind in inspect.getmembers(module, inspect.isclass)
            if issubclass(kind, ServerSettings) and kind.__module__ == module.__name__
        ]
        assert kinds, f"{module.__name__} defines no settings"
        for kind in kinds:
            visible = {name for name, field in kind.model_fields.items() if not _hidden(field.json_schema_extra)}
            on_command_line = {
                option.removeprefix("--")
                for option in common._parser(kind, "parley-x")._option_string_actions
                if option not in ("-h", "--help", "--config")
            }
            assert visible == on_command_line
            names |= {name for name in visible if not (name.startswith(FLAG_PREFIXES) and name not in FLAG_NAMES)}
    assert names == FLAG_NAMES


def _hidden(extra: object) -> bool:
    return isinstance(extra, dict) and bool(extra.get("hidden"))
