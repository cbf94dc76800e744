"""Real OpenAI-compatible servers on the embedded model, as processes on free loopback ports."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.common.model_cache import package_dir
from services.llm.processor import prefers_bfloat16
from services.llm.weights import PACKAGED
from tests.support.chat_templates import CHATML_TOOLS
from tests.support.servers import ROOT

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 10.0
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE", "MLX_DISABLE_COMPILE": "1"}
"""No downloads; no threads that spin while others want the core; no compiling of mlx's kernels, which takes seconds."""
CONTEXT_TOKENS = 2048
"""Of llama.cpp's server; the others take what the model does."""
TEMPLATE = CHATML_TOOLS.replace(
    "(call.function.arguments | tojson)",
    "(call.function.arguments if call.function.arguments is string else call.function.arguments | tojson)",
)
"""Some servers hand the arguments of earlier calls to the template as the text that they got, others read the JSON."""
_TOOL_FORMAT = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "tool_calls": {
            "open_pattern": r"\s*<tool_call>",
            "close": "</tool_call>",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"close_pattern": r"\s*(?:<\|im_end\|>|<\|endoftext\|>)", "content": "text"},
    },
}
"""How `transformers serve` finds calls in an answer; by itself it knows that only of some families of models."""


@dataclass(frozen=True)
class OpenAiServer:
    """A running server: its base URL, and the name by which it knows the model."""

    base_url: str
    model: str


Servers = Callable[[str], Awaitable[OpenAiServer]]
"""Starts one of `PROGRAMS`, where it does not run yet."""


def with_tools(embedded: Path, folder: Path) -> Path:
    """A folder like that of the embedded model, but for a chat template that has tools."""
    for file in embedded.iterdir():
        if file.name not in ("chat_template.jinja", "tokenizer_config.json"):
            (folder / file.name).symlink_to(file)
    config = json.loads((embedded / "tokenizer_config.json").read_text("utf-8"))
    config.pop("chat_template", None)
    config |= {"response_template": _TOOL_FORMAT, "tool_parser_type": "json_tools"}  # the latter for mlx_lm.server
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
    return folder


def _llama_cpp(folder: Path, port: int) -> Sequence[str]:
    packaged = PACKAGED["smollm2-135m-instruct"]
    gguf = package_dir(packaged.package) / packaged.file
    template = folder / "chat_template.jinja"
    return ("tests.support.llama_cpp_server", str(gguf), str(template), folder.name, str(CONTEXT_TOKENS), str(port))


def _transformers(folder: Path, port: int) -> Sequence[str]:
    dtype = "bfloat16" if prefers_bfloat16() else "float32"
    flags = ("--host=127.0.0.1", f"--port={port}", "--device=cpu", f"--dtype={dtype}")
    return ("transformers.cli.transformers", "serve", str(folder), *flags)


def _mlx_lm(folder: Path, port: int) -> Sequence[str]:
    return ("tests.support.fast_blas", "mlx_lm.server", "--model", str(folder), "--port", str(port))


@dataclass(frozen=True)
class _Program:
    """Arguments after `python -m`, and the words in its log that say that it listens."""

    arguments: Callable[[Path, int], Sequence[str]]
    ready: str
    named_by_path: bool


PROGRAMS = {
    "llama.cpp": _Program(_llama_cpp, "listening on", False),
    "transformers serve": _Program(_transformers, "Uvicorn running", True),
    "mlx_lm.server": _Program(_mlx_lm, "Starting httpd", True),
}


@contextlib.asynccontextmanager
async def openai_server(name: str, folder: Path) -> AsyncIterator[OpenAiServer]:
    """Start one of `PROGRAMS` on the model of a folder, wait until it listens, and stop it at the end.

    Raises:
        RuntimeError: where it ends before it listens, with what it printed.
    """
    program, port = PROGRAMS[name], _free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *program.arguments(folder, port)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
        env={**os.environ, **_ENVIRONMENT},
        limit=1 << 20,
    )
    assert process.stdout is not None
    lines: list[str] = []
    listening = asyncio.Event()
    reader = asyncio.create_task(_read(process.stdout, program.ready, lines, listening))
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            await listening.wait()
        if process.returncode is not None or reader.done():
            raise RuntimeError(f"{name} ended before it listened:\n" + "\n".join(lines[-20:]))
        yield OpenAiServer(f"http://127.0.0.1:{port}/v1", str(folder) if program.named_by_path else folder.name)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()
        await reader


async def _read(stream: asyncio.StreamReader, ready: str, lines: list[str], listening: asyncio.Event) -> None:
    """Read the log to its end, so that the server never waits for a reader of it."""
    async for line in stream:
        lines.append(line.decode(errors="replace").rstrip())
        if ready in lines[-1]:
            listening.set()
    listening.set()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
