"""docs/backends.md against the real settings: the page cannot name a flag or show a command line that does not work."""

import re
import shlex
from pathlib import Path

import pytest

from services.common.settings import load
from services.llm.backends import BACKENDS
from services.llm.backends.generation_options import PARAMETERS
from services.llm.settings import LlmSettings

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "backends.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [
    line
    for kind, block in BLOCKS
    if kind == "sh"
    for line in block.replace("\\\n", " ").splitlines()
    if "parley-llm" in shlex.split(line)
]


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 15


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_taken_by_the_settings(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command)
    program = words.index("parley-llm")
    for assignment in words[:program]:
        name, _, value = assignment.partition("=")
        monkeypatch.setenv(name, value)
    made = load(LlmSettings, "parley-llm", words[program + 1 :])
    assert set(made.generation_options) <= set(PARAMETERS)


def test_every_flag_in_the_text_is_one() -> None:
    flags = set(re.findall(r"--([a-z]+(?:_[a-z0-9]+)+)", PAGE))
    assert len(flags) > 20
    options = {f"llm_gen_{name}" for name in PARAMETERS}
    assert flags - set(LlmSettings.model_fields) - options == set()


def test_every_backend_is_on_the_page_with_a_command_of_its_own() -> None:
    chosen = {load(LlmSettings, "parley-llm", _flags(command)).llm_backend for command in COMMANDS}
    assert chosen == set(BACKENDS) - {"fake"}
    assert all(f"`{name}`" in PAGE for name in BACKENDS)


def _flags(command: str) -> list[str]:
    words = shlex.split(command)
    return words[words.index("parley-llm") + 1 :]


def test_the_file_is_taken_too(tmp_path: Path) -> None:
    (block,) = [block for kind, block in BLOCKS if kind == "yaml"]
    file = tmp_path / "parley.yaml"
    file.write_text(block)
    assert load(LlmSettings, "parley-llm", ["--config", str(file)]).llm_backend == "chat-completions"
