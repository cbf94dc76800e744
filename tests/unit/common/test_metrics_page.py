"""docs/metrics.md says what the code says, and promtool finds nothing wrong with the names."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from prometheus_client import generate_latest

ROOT = Path(__file__).resolve().parents[3]
PROMTOOL = shutil.which("promtool")
CLIENT_TEXT = ("text", "prompt", "transcript", "voice", "session", "conversation", "user", "client", "peer")
"""What a label must not be of: what a client chose, and what there is without bound."""


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
