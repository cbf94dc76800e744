"""The clients in six languages: what each needs, how it is built and how it is started."""

import asyncio
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.servers import ROOT

CLIENTS = ROOT / "clients"
_JARS = Path("/usr/share/java")
_GO = Path("/usr/share/gocode/src/google.golang.org/grpc")


@dataclass(frozen=True)
class Client:
    """A program of one language.

    Attributes:
        command: how it is started, in the project's folder.
        build: commands that are run in its folder; none where nothing is to be built.
        needs: programs and files without which it cannot be built.
    """

    command: tuple[str, ...]
    build: tuple[tuple[str, ...], ...] = ()
    needs: tuple[str | Path, ...] = ()

    @property
    def missing(self) -> list[str]:
        """What is not on this machine."""
        return [
            str(need) for need in self.needs if not (need.exists() if isinstance(need, Path) else shutil.which(need))
        ]


CLIENTS_BY_LANGUAGE = {
    "python": Client((sys.executable, "clients/python/talk.py")),
    "node": Client(
        ("node", "clients/node/build/talk.js"),
        (("npm", "ci", "--no-audit", "--no-fund"), ("npm", "run", "build")),
        ("node", "npm", "protoc"),
    ),
    "go": Client(
        ("clients/go/build/talk",), (("make",),), ("go", "protoc", "protoc-gen-go", "protoc-gen-go-grpc", _GO)
    ),
    "java": Client(
        ("clients/java/build/talk",),
        (("make",),),
        (
            "javac",
            "protoc",
            "grpc_java_plugin",
            _JARS / "grpc-netty.jar",
            _JARS / "netty-all.jar",
            _JARS / "protobuf.jar",
        ),
    ),
    "cpp": Client(("clients/cpp/build/talk",), (("make",),), ("g++", "pkg-config", "protoc", "grpc_cpp_plugin")),
    "ruby": Client(("clients/ruby/talk.rb",), (("make",),), ("ruby", "protoc", "grpc_ruby_plugin")),
}


@dataclass(frozen=True)
class Ended:
    """What a program printed, and its exit code."""

    code: int
    out: str
    err: str


async def run(*command: str, cwd: Path = ROOT) -> Ended:
    """Run a program to its end."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def build(language: str) -> None:
    """Build a client, anew where its sources have changed.

    Raises:
        AssertionError: with what the compiler said.
    """
    for command in CLIENTS_BY_LANGUAGE[language].build:
        ended = await run(*command, cwd=CLIENTS / language)
        assert ended.code == 0, f"{' '.join(command)}:\n{ended.out}\n{ended.err}"
