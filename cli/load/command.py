"""`parley load`: many callers at the speed of speech, and a report about what they met."""

import asyncio
import contextlib
import platform
from datetime import UTC, datetime
from pathlib import Path

from parley.agent.v1 import agent_service_pb2 as pb
from rich.console import Console
from rich.text import Text

from cli.audio_files import SpeechFile
from cli.errors import FAILED, USAGE, CliError
from cli.load import records
from cli.load.caller import Speech
from cli.load.plan import LoadPlan
from cli.load.progress import Progress
from cli.load.run import LoadRun
from cli.pacing import FRAME_S
from cli.report.command import show
from cli.signals import at_signal
from cli.talk import TalkOptions, open_session


async def run(path: Path, plan: LoadPlan, options: TalkOptions, out: Path | None, *, console: Console) -> int:
    """Run the plan, print its figures and write its records and the report. Ctrl-C ends it early.

    Args:
        path: the recording that every caller says.
        out: folder of the results, without those of another run; by default a new one with the time in its name.

    Returns:
        The exit code: FAILED where no turn was answered.

    Raises:
        CliError: where the recording, the folder or the orchestrator is no use, before the callers call.
    """
    with SpeechFile(path) as source:
        speech = Speech(tuple(source.frames(FRAME_S)), source.silence(FRAME_S))
        config = options.session(source.format)
    async with open_session(options, source.format, reconnect_s=0):
        pass  # whatever would keep all of them from calling is told once, and at once
    began = datetime.now(UTC)
    folder = _made(out or Path("out") / f"load-{began.astimezone():%Y%m%d-%H%M%S}")
    header = records.RunBegan(
        began=began.isoformat(timespec="seconds"),
        target=options.target,
        file=path.name,
        speech_s=round(speech.duration_s, 3),
        plan=plan,
        client=platform.platform(terse=True),
    )
    words = (
        f"{plan.sessions} sessions × {plan.turns} turns of {path.name} ({speech.duration_s:.1f} s) to "
        f"{options.target}, into {folder}; Ctrl-C ends it early"
    )
    console.print(Text(words), soft_wrap=True)
    await _run(header, config, speech, folder, console)
    console.print()
    return 0 if show(records.read(folder), folder / records.PAGE_NAME, console=console).answered else FAILED


async def _run(
    header: records.RunBegan, config: pb.SessionConfig, speech: Speech, folder: Path, console: Console
) -> None:
    stop = asyncio.Event()
    with contextlib.ExitStack() as stack:
        file = stack.enter_context((folder / records.FILE_NAME).open("w", encoding="utf-8"))
        progress = stack.enter_context(Progress(header.plan, console))
        stack.enter_context(at_signal(stop.set))

        def take(record: records.Record) -> None:
            records.write(record, file)
            progress.take(record)

        take(header)
        await LoadRun(header.target, config, header.plan, speech, take).run(stop)


def _made(folder: Path) -> Path:
    if any((folder / name).exists() for name in (records.FILE_NAME, records.PAGE_NAME)):
        raise CliError(f"--out: {folder} has the results of an earlier run; name another folder", USAGE)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / records.FILE_NAME).touch(exist_ok=False)
    except OSError as error:
        raise CliError(f"cannot write into {folder}: {error.strerror or error}") from None
    return folder
