"""The four services on the embedded models, and a client that speaks recordings to them at the speed of speech."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
from parley_client.events import Event

from cli.audio_files import SpeechFile
from cli.dialogue import Dialogue, Turn
from cli.plan import EMBEDDED_GENERATION, EMBEDDED_MODEL, EMBEDDED_SPEED
from cli.talk import TalkOptions, talk_file
from tests.support.servers import ROOT, RunningServer, running

QUESTIONS = sorted((ROOT / "samples").glob("*.wav"))
INSTRUCTIONS = "You are a friendly assistant. Answer in one or two short sentences."
_FRAME_S = 0.01
_SPEECH_LEVEL = 0.03
"""Of the loudest 10 ms: quieter is the room, not the speaker (-30 dB)."""
_ONSET_LEVEL, _ONSET_FRAMES = 0.06, 5


@contextlib.asynccontextmanager
async def real_stack(*llm_flags: str, orchestrator: tuple[str, ...] = ()) -> AsyncIterator[dict[str, RunningServer]]:
    """Start the four, the language model and the orchestrator with more flags; yields them by name."""
    chosen = {"model_name": EMBEDDED_MODEL, **EMBEDDED_SPEED, **EMBEDDED_GENERATION}
    flags = {
        "stt": (),
        "llm": ("--llm_backend=transformers", *(f"--{name}={value}" for name, value in chosen.items()), *llm_flags),
        "tts": (),
    }
    async with contextlib.AsyncExitStack() as stack:
        servers = {name: await stack.enter_async_context(running(name, *flags[name])) for name in flags}
        targets = (f"--{name}_target={server.address}" for name, server in servers.items())
        servers["orchestrator"] = await stack.enter_async_context(running("orchestrator", *targets, *orchestrator))
        yield servers


class _Silent:
    def show(self, event: Event, dialogue: Dialogue) -> None:
        """Print nothing."""

    def note(self, text: str) -> None:
        """Print nothing."""


async def speak(target: str, recording: Path) -> list[Turn]:
    """Say a recording in a session of its own; returns the turns."""
    with SpeechFile(recording) as source:
        talk = await talk_file(source, TalkOptions(target, instructions=INSTRUCTIONS), _Silent())
    return talk.dialogue.turns


def start_of_speech_s(recording: Path) -> float:
    """Where the first speech in a recording begins, told from its loudness alone: the recordings begin with a noise of
    the room that is nearly as loud as the end of a word, so 50 ms of something louder are asked for.
    """
    voiced = _voiced_frames(recording, _ONSET_LEVEL)
    runs = np.flatnonzero(voiced[_ONSET_FRAMES - 1 :] - voiced[: 1 - _ONSET_FRAMES] == _ONSET_FRAMES - 1)
    return float(voiced[runs[0]]) * _FRAME_S


def end_of_speech_s(recording: Path) -> float:
    """Where the last speech in a recording ends, told from its loudness alone: no model that is being measured."""
    return float(_voiced_frames(recording, _SPEECH_LEVEL)[-1] + 1) * _FRAME_S


def _voiced_frames(recording: Path, level: float) -> npt.NDArray[np.intp]:
    samples, rate = soundfile.read(recording, dtype="float32")
    frame = round(rate * _FRAME_S)
    loudness = np.sqrt((samples[: len(samples) // frame * frame].reshape(-1, frame) ** 2).mean(axis=1))
    return np.flatnonzero(loudness >= level * loudness.max())
