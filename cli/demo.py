"""`parley demo`, which `make demo` runs: the whole stack on the embedded models answers a recorded question."""

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from cli.audio_files import SpeechFile, check_writable, write_wav
from cli.dialogue import Turn
from cli.errors import CliError
from cli.plan import FREE_PORTS, plan_stack
from cli.programs import ORCHESTRATOR, STT
from cli.render import wrote
from cli.stack import Stack
from cli.stack_view import StackView
from cli.talk import Talk, TalkOptions, talk_file
from cli.talk_view import TalkView
from cli.transcribe import TranscribeOptions, transcripts
from cli.word_errors import word_error_rate

QUESTION = Path(__file__).resolve().parent.parent / "samples" / "austen_0890.wav"
INSTRUCTIONS = "You are a friendly voice assistant. Reply in one or two short sentences."


async def run(question: Path | None, output: Path, words: Sequence[str], *, console: Console) -> None:
    """Start everything on free ports, ask, show the answer and where the time went, listen to the answer, stop.

    Args:
        question: a recording; the one that comes with the project if None.
        output: WAV file of the answer; its folder is made.
        words: flags of any service, as for `parley up`.

    Raises:
        CliError: where any part fails or comes out empty.
    """
    source_path = question or QUESTION
    if question is None and not QUESTION.is_file():
        raise CliError("the recorded question is not installed with the package; give one with --question FILE")
    output.parent.mkdir(parents=True, exist_ok=True)
    check_writable(output)
    plan = plan_stack(words, FREE_PORTS)
    view: StackView | None = None
    stack = Stack(
        plan.launches,
        log_dir=plan.cache_dir / "logs" / "demo",
        targets=plan.targets,
        on_change=lambda: view.changed() if view else None,
    )
    _cancel_at_sigterm()
    with SpeechFile(source_path) as source:
        try:
            view = StackView(stack, console, live=console.is_terminal)
            console.print("Starting the services …", style="dim")
            with view:
                await stack.start()
            talk = await _ask(source, stack.addresses[ORCHESTRATOR.name], console)
            write_wav(output, bytes(talk.audio), talk.output_format)
            await _listen_back(output, talk.dialogue.turns, stack.addresses[STT.name], console)
        finally:
            await stack.stop()


async def _ask(source: SpeechFile, target: str, console: Console) -> Talk:
    """Put the question, and make sure that all of the answer is there."""
    with TalkView(console) as view:
        talk = await talk_file(source, TalkOptions(target, instructions=INSTRUCTIONS), view)
    if not talk.dialogue.turns:
        raise CliError("no speech was heard in the question")
    if not _spoken(talk.dialogue.turns):
        raise CliError("the language model's answer is empty")
    if not talk.audio:
        raise CliError("the answer has no speech")
    return talk


async def _listen_back(path: Path, turns: Sequence[Turn], target: str, console: Console) -> None:
    """Transcribe the written answer, and compare it with its text."""
    with SpeechFile(path) as recording:
        seconds = recording.duration_s
        heard = [t.text.strip() async for t in transcripts(recording, TranscribeOptions(target)) if t.is_final]
    text = " ".join(part for part in heard if part)
    if not text:
        raise CliError(f"the speech-to-text service hears nothing in {path}")
    errors = word_error_rate(_spoken(turns), text)
    console.print(wrote(path, seconds), soft_wrap=True)
    console.print(Text.assemble(("Heard in it: ", "bold"), text), soft_wrap=True)
    console.print(f"Word error rate against the answer: {errors:.1%}", highlight=False)


def _spoken(turns: Sequence[Turn]) -> str:
    return " ".join(part for turn in turns if (part := (turn.spoken or turn.answer).strip()))


def _cancel_at_sigterm() -> None:
    """SIGTERM ends this like Ctrl-C does, so that no service is left behind."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
