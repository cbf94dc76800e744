"""The name of every flag of every Parley program, so that a variable or key meant for a neighbour is no typo.

Kept true by tests/unit/common/test_settings.py.
"""

FLAG_NAMES: frozenset[str] = frozenset(
    {
        # Every server
        "host",
        "port",
        "metrics_port",
        "log_level",
        "log_format",
        "drain_wait_s",
        "drain_grace_s",
        "cache_dir",
        "max_message_bytes",
        # Orchestrator
        "stt_target",
        "llm_target",
        "tts_target",
        "response_timeout_s",
        "max_sessions",
        # Speech to text
        "stt",
        "language",
        "stt_model_name",
        "stt_interim_model_name",
        "stt_device",
        "stt_compute_type",
        "stt_threads",
        "interim_interval_s",
        "endpoint_speech_threshold",
        "endpoint_silence_s",
        "endpoint_soft_silence_s",
        "endpoint_min_speech_s",
        "endpoint_prefix_padding_s",
        "endpoint_max_utterance_s",
        "stt_max_streams",
        "stt_max_transcriptions",
        "stt_max_waiting",
        "fake_transcript",
        "fake_stt_delay_ms",
        # Text to speech
        "tts",
        "tts_voice",
        "tts_threads",
        "tts_max_running",
        "tts_max_waiting",
        "tts_max_characters",
        "fake_tts_delay_ms",
        "fake_tts_ms_per_character",
        # Language model
        "llm_backend",
        "model_name",
        "chat_size",
        "init_chat_role",
        "init_chat_prompt",
        "user_role",
        "enable_lang_prompt",
        "stream_batch_sentences",
        "first_batch_sentences",
        "first_segment_min_chars",
        "llm_max_waiting",
        "llm_max_input_chars",
        "llm_device",
        "llm_torch_dtype",
        "llm_quantization",
        "llm_threads",
        "llm_gen_max_new_tokens",
        "llm_gen_min_new_tokens",
        "llm_gen_temperature",
        "llm_gen_do_sample",
        "llm_trust_remote_code",
        "conversation_ttl_s",
        "max_conversations",
        "held_response_ttl_s",
        "fake_first_token_ms",
        "fake_token_ms",
        "fake_answer",
    }
)
FLAG_PREFIXES: tuple[str, ...] = ("llm_gen_",)
"""Flags with an open end: any generation parameter."""
