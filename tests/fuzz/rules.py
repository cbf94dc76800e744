"""What holds for running programs, whatever comes: they live, log no error, and tell nothing of their inside."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import hypothesis
from hypothesis import strategies as st

from tests.support.servers import RunningServer

DrawnT = TypeVar("DrawnT")

FLAGS: dict[str, tuple[str, ...]] = {
    "llm": (
        "--fake_token_ms=0",
        "--fake_first_token_ms=0",
        "--fake_answer=Yes.",
        "--llm_max_input_chars=20000",
        "--fake_calls_tools=true",
    ),
    "tts": ("--fake_tts_ms_per_character=0",),
    "orchestrator": ("--realtime_port=0", "--metrics_port=0", "--max_message_bytes=100000"),
}
"""Of the fake programs."""
HANG_S = 30.0
FOUND = Path(__file__).resolve().parents[2] / "build" / "fuzz"
INSIDE = re.compile(r"Traceback|\b\w+(Error|Exception)\b| object at 0x|/site-packages/|\.py\b")
"""What tells a client of the inside of a server."""


def ended(servers: Mapping[str, RunningServer]) -> str:
    """Which of the programs has ended, and should not have; "" where none has."""
    return next((f"{name} has ended" for name, server in servers.items() if server.process.returncode is not None), "")


def check_logs(servers: Mapping[str, RunningServer]) -> None:
    """Check that no program has logged an error; what they say from now on is for the next check.

    Raises:
        AssertionError: one has; what it was that did it, nobody can tell.
    """
    for name, server in servers.items():
        failed = [entry for entry in server.logs if str(entry.get("level", "ERROR")) in ("ERROR", "CRITICAL")]
        server.logs[:] = [entry for entry in server.logs if any(key.endswith("port") for key in entry)]
        assert not failed, f"{name} logs {failed[0]}"


def try_drawn(
    drawn: st.SearchStrategy[DrawnT], play: Callable[[DrawnT], None], examples: int, seed: int | None = None
) -> None:
    """Play so many drawn inputs; with a seed others than with another.

    Raises:
        AssertionError: a rule is broken, by the smallest input that does it.
    """
    settings = hypothesis.settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    holds = settings(hypothesis.given(drawn)(play))
    (hypothesis.seed(seed)(holds) if seed is not None else holds)()
