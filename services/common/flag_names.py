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
        # Text to speech
        "tts",
        "tts_voice",
        "tts_threads",
        "tts_max_running",
        "tts_max_waiting",
        "tts_max_characters",
        "fake_tts_delay_ms",
        "fake_tts_ms_per_character",
    }
)
FLAG_PREFIXES: tuple[str, ...] = ("llm_gen_",)
"""Flags with an open end: any generation parameter."""
