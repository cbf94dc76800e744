"""Models that come in packages: built once, whole or not at all."""

import hashlib
import multiprocessing
import os
from pathlib import Path

import pytest

from services.common.errors import StartupError
from services.common.model_cache import build_once, join, package_dir


def fill(folder: Path) -> None:
    (folder / "model.bin").write_bytes(b"weights")


def test_a_folder_is_built_once_and_found_ever_after(tmp_path: Path) -> None:
    builds: list[Path] = []

    def build(folder: Path) -> None:
        builds.append(folder)
        fill(folder)

    first = build_once(tmp_path / "cache", "whisper/base-1", build)
    assert build_once(tmp_path / "cache", "whisper/base-1", build) == first == tmp_path / "cache/whisper/base-1"
    assert len(builds) == 1
    assert (first / "model.bin").read_bytes() == b"weights"


def test_a_failed_build_leaves_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    def broken(folder: Path) -> None:
        fill(folder)
        raise StartupError("damaged")

    with pytest.raises(StartupError, match="damaged"):
        build_once(tmp_path, "m", broken)
    assert [path.name for path in tmp_path.iterdir()] == [".m.lock"]
    assert (build_once(tmp_path, "m", fill) / "model.bin").exists()


def test_what_a_killed_process_left_half_built_is_thrown_away(tmp_path: Path) -> None:
    left = tmp_path / ".m.part"
    left.mkdir()
    (left / "stale").touch()
    built = build_once(tmp_path, "m", fill)
    assert [path.name for path in built.iterdir()] == ["model.bin"]
    assert not left.exists()


def test_other_users_may_read_what_was_built(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        assert build_once(tmp_path, "m", fill).stat().st_mode & 0o777 == 0o755
    finally:
        os.umask(before)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match=r"cannot write to .*file.*; choose another --cache_dir"):
        build_once(tmp_path / "file", "m", fill)


def _build_slowly(root: Path, entered: "multiprocessing.synchronize.Barrier", counts: Path) -> None:
    def build(folder: Path) -> None:
        with counts.open("a") as file:
            file.write("x")
        fill(folder)

    entered.wait(60)
    build_once(root, "m", build)


def test_of_several_processes_one_builds(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, counts = context.Barrier(3), tmp_path / "counts"
    processes = [context.Process(target=_build_slowly, args=(tmp_path / "cache", barrier, counts)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert counts.read_text() == "x"


def test_parts_are_joined_in_order_and_checked(tmp_path: Path) -> None:
    parts = [tmp_path / "a", tmp_path / "b"]
    parts[0].write_bytes(b"first")
    parts[1].write_bytes(b"second")
    join(parts, tmp_path / "whole", hashlib.sha256(b"firstsecond").hexdigest())
    assert (tmp_path / "whole").read_bytes() == b"firstsecond"
    with pytest.raises(StartupError, match="is damaged: its hash is wrong; install it again"):
        join(reversed(parts), tmp_path / "whole", hashlib.sha256(b"firstsecond").hexdigest())


def test_an_installed_package_is_found_without_importing_it() -> None:
    assert (package_dir("services") / "common").is_dir()


def test_a_missing_package_is_named_as_it_is_installed() -> None:
    with pytest.raises(StartupError, match="the model package no-such-model is not installed"):
        package_dir("no_such_model")
