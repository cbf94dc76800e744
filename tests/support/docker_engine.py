"""A Docker engine for tests: the one that answers here, or one of our own, which needs no systemd."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
CLIENT = shutil.which("docker", path="/usr/bin") or shutil.which("docker")
"""The distribution's first: it builds with BuildKit by itself, where another one may lack the plugin for that."""
_RUNTIME = """#!/bin/sh
# runc refuses to make a process less likely to be killed for memory where it lacks the right: then not at all.
bundle= previous=
for word in "$@"; do [ "$previous" = --bundle ] && bundle=$word; previous=$word; done
[ -f "$bundle/config.json" ] && sed -i 's/"oomScoreAdj":-[0-9]*/"oomScoreAdj":0/' "$bundle/config.json"
exec runc "$@"
"""


class Engine:
    """A running engine.

    Args:
        host: its address as in `DOCKER_HOST`; the client's own choice if empty.
    """

    def __init__(self, host: str) -> None:
        self.environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
        if host:
            self.environment["DOCKER_HOST"] = host

    def docker(self, *words: str, timeout_s: float = 600, stdin: str | None = None) -> str:
        """Run `docker WORDS`; returns what it printed.

        Raises:
            RuntimeError: where it fails, with the end of what it wrote.
        """
        return run(str(CLIENT), *words, environment=self.environment, timeout_s=timeout_s, stdin=stdin)

    def answers(self) -> bool:
        """Whether it is there."""
        try:
            self.docker("info", timeout_s=20)
        except (RuntimeError, subprocess.TimeoutExpired):
            return False
        return True


def run(
    program: str, *words: str, environment: Mapping[str, str], timeout_s: float = 600, stdin: str | None = None
) -> str:
    """Run a program to its end; returns what it printed.

    Raises:
        RuntimeError: where it fails, with the end of what it wrote.
    """
    done = subprocess.run(
        (program, *words), env=environment, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if done.returncode:
        written = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        raise RuntimeError(f"{Path(program).name} {' '.join(words)} ended with {done.returncode}:\n{written}")
    return done.stdout


@contextlib.contextmanager
def docker_engine() -> Iterator[Engine]:
    """The engine that answers here, else one that runs while the block does; skips the test where neither can be."""
    if CLIENT is None:
        pytest.skip("the program docker is not installed")
    present = Engine("")
    if present.answers():
        yield present
        return
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        pytest.skip("no Docker engine answers, and none can be started: that takes the program dockerd, and root")
    folder = Path(tempfile.mkdtemp(prefix="parley-engine-"))
    try:
        with _own_engine(folder) as own:
            yield own
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def _own_engine(folder: Path) -> Iterator[Engine]:
    runtime = folder / "runtime"
    runtime.write_text(_RUNTIME, "utf-8")
    runtime.chmod(0o755)
    host = f"unix://{folder}/docker.sock"
    log = folder / "dockerd.log"
    command = ("dockerd", f"--host={host}", f"--data-root={folder}/data", f"--exec-root={folder}/exec")
    command += (f"--pidfile={folder}/pid", f"--add-runtime=parley={runtime}", "--default-runtime=parley")
    had_bridge = _bridge().exists()
    with log.open("wb") as written:
        process = subprocess.Popen(command, stdout=written, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        engine = Engine(host)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not engine.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.skip(f"the Docker engine does not start here: {log.read_text('utf-8').splitlines()[-1]}")
        yield engine
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        finally:
            process.kill()
            _unmount(folder)
            if not had_bridge and _bridge().exists():
                subprocess.run(("ip", "link", "delete", _bridge().name), check=False)


def _bridge() -> Path:
    return Path("/sys/class/net/docker0")


def _unmount(folder: Path) -> None:
    """What an engine that had to be killed has left."""
    for line in reversed(Path("/proc/mounts").read_text("utf-8").splitlines()):
        if (place := line.split()[1]).startswith(f"{folder}/"):
            subprocess.run(("umount", place), check=False)
