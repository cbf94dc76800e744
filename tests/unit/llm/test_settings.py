"""The flags of the LLM service."""

from pathlib import Path

import pytest

from services.common.flag_names import FLAG_NAMES
from services.common.settings import SettingsError, load
from services.llm.settings import LlmSettings

LOCAL = ("--llm_backend", "transformers")


def settings(*argv: str) -> LlmSettings:
    return load(LlmSettings, "parley-llm", argv)


def problem(*argv: str) -> str:
    with pytest.raises(SettingsError) as caught:
        settings(*argv)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults_are_those_of_the_specification() -> None:
    made = settings()
    assert made.llm_backend == "responses-api"
    assert made.model_reference == settings("--llm_backend", "chat-completions").model_reference == "gpt-5.4-mini"
    assert settings("--llm_backend", "transformers").model_reference == "Qwen/Qwen3-4B-Instruct-2507"
    assert (made.responses_api_api_key, made.responses_api_base_url, made.responses_api_reasoning_effort) == (
        None,
        "",
        "",
    )
    assert (made.responses_api_stream, made.responses_api_disable_thinking) == (True, True)
    assert (made.responses_api_connect_timeout_s, made.responses_api_first_token_timeout_s) == (5, 20)
    assert (made.responses_api_idle_timeout_s, made.responses_api_request_timeout_s) == (10, 120)
    assert made.responses_api_max_retries == 2
    assert (made.chat_size, made.init_chat_role, made.user_role, made.enable_lang_prompt) == (
        30,
        "system",
        "user",
        False,
    )
    assert (made.stream_batch_sentences, made.first_batch_sentences) == (3, 1)
    assert (made.llm_gen_max_new_tokens, made.llm_gen_min_new_tokens) == (1024, 0)
    assert (made.llm_gen_temperature, made.llm_gen_do_sample, made.llm_trust_remote_code) == (0.0, False, False)
    assert (made.llm_device, made.llm_torch_dtype) == ("", "")
    assert made.init_chat_prompt
    assert made.port == 50052


def test_any_generation_parameter_is_a_flag_and_keeps_its_type() -> None:
    made = settings("--llm_gen_top_k", "5", "--llm_gen_top_p=0.9", "--llm_gen_bad_words_ids", "[[1, 2]]")
    assert made.generation_options == {"top_k": 5, "top_p": 0.9, "bad_words_ids": [[1, 2]]}


def test_generation_parameters_come_from_environment_and_file_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "parley.yaml"
    file.write_text("llm_gen_top_k: 5\nllm_gen_min_p: 0.1\nllm_gen_top_p: 0.1\n")
    monkeypatch.setenv("PARLEY_LLM_GEN_TOP_P", "0.2")
    monkeypatch.setenv("PARLEY_LLM_GEN_MIN_P", "0.2")
    made = settings("--config", str(file), "--llm_gen_min_p", "0.3")
    assert made.generation_options == {"top_k": 5, "top_p": 0.2, "min_p": 0.3}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([*LOCAL, "--llm_gen_do_sample"], "--llm_gen_temperature above 0"),
        ([*LOCAL, "--llm_gen_temperature", "0.7"], "no effect without --llm_gen_do_sample"),
        ([*LOCAL, "--llm_gen_min_new_tokens", "9", "--llm_gen_max_new_tokens", "8"], "is more than"),
        (["--llm_gen_max_new_tokens", "0"], "--llm_gen_max_new_tokens"),
        (["--llm_gen_temperature", "-1"], "--llm_gen_temperature"),
        (["--llm_backend", "other"], "--llm_backend"),
        (["--llm_backend", "mlx-lm", "--llm_is_vlm"], "mlx-lm has no models that see"),
        (["--llm_device", "tpu"], "--llm_device"),
        (["--llm_torch_dtype", "int8"], "--llm_torch_dtype"),
        (["--chat_size", "-1"], "--chat_size"),
        (["--stream_batch_sentences", "0"], "--stream_batch_sentences"),
        (["--responses_api_base_url", "host/v1"], "--responses_api_base_url: must be an http or https URL"),
        (["--responses_api_base_url", "http://host/v1/chat/completions"], "must end before /chat/completions"),
        (["--responses_api_base_url", "https://me:secret@host/v1"], "--responses_api_base_url: must be an http or"),
        (["--responses_api_reasoning_effort", "very high"], "--responses_api_reasoning_effort: must be one word"),
        (["--responses_api_idle_timeout_s", "0"], "--responses_api_idle_timeout_s"),
        (["--responses_api_first_token_timeout_s", "inf"], "--responses_api_first_token_timeout_s"),
        (["--conversation_ttl_s", "inf"], "--conversation_ttl_s"),
        (["--responses_api_max_retries", "-1"], "--responses_api_max_retries"),
        (["--chatsize", "3"], "did you mean --chat_size"),
        (["--llm_gen_top_k", "[1"], "--llm_gen_top_k"),
    ],
)
def test_edge_23_a_wrong_flag_is_one_line_that_names_it(argv: list[str], words: str) -> None:
    assert words in problem(*argv)


def test_sampling_flags_that_agree_are_taken() -> None:
    made = settings("--llm_gen_do_sample", "--llm_gen_temperature", "0.7")
    assert (made.llm_gen_do_sample, made.llm_gen_temperature) == (True, 0.7)


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("package:smollm2-135m-instruct", "smollm2-135m-instruct"),
        ("org/model-1", "org/model-1"),
        ("/srv/models/mine", "mine"),
        ("./mine", "mine"),
    ],
)
def test_clients_see_a_models_name_and_never_its_path(reference: str, name: str) -> None:
    assert settings("--model_name", reference).model == name


def test_the_address_of_the_store_is_kept_to_itself() -> None:
    made = settings()
    assert (made.conversation_store.get_secret_value(), made.compact_history) == ("memory", True)
    made = settings("--conversation_store", "rediss://ada:geheim@host:6380/1", "--compact_history", "False")
    assert made.conversation_store.get_secret_value() == "rediss://ada:geheim@host:6380/1"
    assert "geheim" not in repr(made)
    assert not made.compact_history
    told = problem("--conversation_store", "postgres://ada:geheim@host")
    assert told == "--conversation_store: must be memory, or begin with redis://, rediss://, unix://"


def test_every_flag_is_known_to_the_neighbours() -> None:
    assert set(LlmSettings.model_fields) - {"generation_options"} <= FLAG_NAMES
