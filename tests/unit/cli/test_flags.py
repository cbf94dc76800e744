"""Flags reach the programs that have them."""

import pytest

from cli.errors import USAGE, CliError
from cli.flags import Flag, KnownFlags, parse, route

STT = KnownFlags({"stt", "log_level", "language"})
LLM = KnownFlags({"llm_backend", "log_level", "enable_lang_prompt"}, {"enable_lang_prompt"}, "llm_gen_")
BOTH = {"stt": STT, "llm": LLM}


def parsed(*words: str) -> list[Flag]:
    return parse(words, [STT, LLM])


def test_values_come_after_a_space_or_an_equals_sign() -> None:
    assert parsed("--stt", "fake", "--llm_backend=fake") == [Flag("stt", "fake"), Flag("llm_backend", "fake")]


def test_an_equals_sign_in_a_value_stays() -> None:
    assert parsed("--stt=a=b") == [Flag("stt", "a=b")]


@pytest.mark.parametrize("words", [("--enable_lang_prompt",), ("--enable_lang_prompt", "--stt", "fake")])
def test_a_switch_stands_alone(words: tuple[str, ...]) -> None:
    assert parsed(*words)[0] == Flag("enable_lang_prompt", "true")


def test_a_switch_may_have_a_value() -> None:
    assert parsed("--enable_lang_prompt", "false") == [Flag("enable_lang_prompt", "false")]


def test_negative_numbers_are_values() -> None:
    assert parsed("--language", "-1") == [Flag("language", "-1")]


def test_a_flag_of_several_programs_goes_to_all_of_them() -> None:
    routed = route(parsed("--log_level", "debug", "--stt", "fake"), BOTH)
    assert [str(flag) for flag in routed["stt"]] == ["--log_level=debug", "--stt=fake"]
    assert [str(flag) for flag in routed["llm"]] == ["--log_level=debug"]


def test_generation_parameters_of_any_name_go_to_the_language_model() -> None:
    routed = route(parsed("--llm_gen_top_k", "5"), BOTH)
    assert routed == {"stt": [], "llm": [Flag("llm_gen_top_k", "5")]}


def test_an_unknown_flag_suggests_the_nearest_of_any_program() -> None:
    with pytest.raises(CliError, match="unknown flag --llm_backnd; did you mean --llm_backend") as raised:
        parsed("--llm_backnd", "fake")
    assert raised.value.exit_code == USAGE


def test_an_unknown_flag_that_lacks_its_prefix_suggests_that_of_each_program() -> None:
    known = [KnownFlags({"stt_api_key", "model_name"}), KnownFlags({"tts_api_key", "turn_end_model"})]
    with pytest.raises(CliError, match=r"--api_key; did you mean --stt_api_key or --tts_api_key\?"):
        parse(["--api_key", "x"], known)
    with pytest.raises(CliError, match=r"--model; did you mean --model_name\?"):
        parse(["--model", "x"], known)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--stt",), "--stt needs a value"),
        (("--stt", "--language", "en"), "--stt needs a value"),
        (("fake",), "unexpected word 'fake'"),
        (("--zzzzzzzz", "1"), "unknown flag --zzzzzzzz; see"),
    ],
)
def test_wrong_words_are_named(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(CliError, match=message):
        parsed(*words)
