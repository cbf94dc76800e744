"""What a recognizer understands of what the voices say.

samples/round_trip.txt, 50 sentences with numbers, names, times and abbreviations, spoken by each neural voice and heard
by Whisper base, as many in a row as fit into one of its windows. Text and transcript are compared as words: what is
written in digits and abbreviations is read out first, in both alike.

    python -m benchmarks.round_trip [--voice hibari kokoro kokoro/bm_george piper] [--sentences 50]
"""

import argparse
import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
from faster_whisper import WhisperModel

from benchmarks.report import load as saved
from benchmarks.report import save, show
from services.common.admission import AdmissionQueue
from services.common.audio import Samples, decode, resample
from services.common.settings import load
from services.stt.weights import locate
from services.tts import engines
from services.tts.domain import Chunk, Started, SynthesisRequest
from services.tts.loudness import lufs
from services.tts.reading.english import read
from services.tts.settings import TtsSettings
from services.tts.synthesizer import Synthesizer

SENTENCES = (Path(__file__).parent.parent / "samples" / "round_trip.txt").read_text("utf-8").splitlines()
WHISPER_HZ, WINDOW_S = 16_000, 28.0


def as_words(text: str) -> str:
    """A text as words in lower case, letters that are spelled as one; Whisper writes times as "7.30 pm", too."""
    text = re.sub(r"\b(\d{1,2})\.(\d\d)(?= ?[ap]\.?m\b)", r"\1:\2", text)
    words = re.sub(r"[^\w\s']|(?<=\s)'|'(?=\s)", " ", read(text).lower()).split()
    return re.sub(r"(?<=\b[a-z]) (?=[a-z]\b)", "", " ".join(words))


async def speak(engine: str, voice: str, texts: list[str]) -> tuple[int, list[Samples], list[float]]:
    """Sample rate, what is said for each text, and the seconds until the first audio of each."""
    settings = load(TtsSettings, "parley-tts", ["--tts", engine, "--tts_threads", "2", "--tts_max_delay_s", "600"])
    admission = AdmissionQueue("syntheses", running=1, waiting=0)
    synthesizer = Synthesizer(engines.build(settings), admission, default_voice=voice, max_characters=5000)
    await synthesizer.load()
    spoken, waited, rate_hz = [], [], 0
    for text in texts:
        begun, first, data = time.monotonic(), 0.0, b""
        async for event in synthesizer.synthesize(SynthesisRequest(text)):
            if isinstance(event, Started):
                audio_format = event.audio_format
                rate_hz = audio_format.sample_rate_hz
            elif isinstance(event, Chunk):
                first = first or time.monotonic() - begun
                data += event.data
        spoken.append(decode(data, audio_format))
        waited.append(first)
    await synthesizer.aclose()
    return rate_hz, spoken, waited


def hear(whisper: WhisperModel, samples: Samples, rate_hz: int) -> str:
    """The transcript."""
    segments, _ = whisper.transcribe(resample(samples, rate_hz, WHISPER_HZ), language="en", beam_size=2)
    return " ".join(segment.text.strip() for segment in segments)


def windows(texts: list[str], spoken: list[Samples], rate_hz: int) -> Iterator[tuple[str, Samples]]:
    """Texts that follow each other, with a pause between, and their samples."""
    pause = np.zeros(round(0.5 * rate_hz), np.float32)
    said: list[str] = []
    heard: list[Samples] = []
    for text, samples in zip(texts, spoken, strict=True):
        if sum(map(len, heard)) + len(samples) > WINDOW_S * rate_hz:
            yield " ".join(said), np.concatenate(heard)
            said, heard = [], []
        said.append(text)
        heard += [samples, pause]
    yield " ".join(said), np.concatenate(heard)


def _differences(compared: jiwer.WordOutput) -> list[str]:
    """Where the two are not alike: "twenty one -> twenty"."""
    said, heard = compared.references[0], compared.hypotheses[0]
    return [
        f"{' '.join(said[max(0, part.ref_start_idx - 2) : part.ref_end_idx])} -> "
        f"{' '.join(heard[max(0, part.hyp_start_idx - 2) : part.hyp_end_idx])}"
        for part in compared.alignments[0]
        if part.type != "equal"
    ]


def measure(whisper: WhisperModel, name: str, texts: list[str]) -> dict[str, Any]:
    """One voice: its errors, word by word, its first audio and its level."""
    engine, _, voice = name.partition("/")
    rate_hz, spoken, waited = asyncio.run(speak(engine, voice, texts))
    wrong = []
    errors = words = 0
    for text, samples in windows(texts, spoken, rate_hz):
        heard = hear(whisper, samples, rate_hz)
        compared = jiwer.process_words(as_words(text), as_words(heard))
        missed = compared.substitutions + compared.insertions + compared.deletions
        words += missed - compared.insertions + compared.hits
        if missed:
            wrong += _differences(compared)
        errors += missed
    return {
        "word_error_rate": round(errors / words, 4),
        "words": words,
        "first_audio_ms": round(1000 * float(np.median(waited)), 1),
        "lufs": round(lufs(np.concatenate(spoken), rate_hz), 1),
        "wrong": wrong,
    }


def main() -> None:
    """Measure the voices, print and save what was misheard."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--voice", nargs="+", default=["hibari", "kokoro", "piper"], help="ENGINE or ENGINE/VOICE")
    parser.add_argument("--sentences", type=int, default=len(SENTENCES))
    arguments = parser.parse_args()
    source = locate("package:whisper-base", Path.home() / ".cache" / "parley").source
    whisper = WhisperModel(source, device="cpu", compute_type="int8", cpu_threads=2, local_files_only=True)
    results = {name: measure(whisper, name, SENTENCES[: arguments.sentences]) for name in arguments.voice}
    for name, result in results.items():
        for mistake in result["wrong"]:
            print(f"{name}: {mistake}")
    rows = [
        [name, f"{result['word_error_rate']:.1%}", result["first_audio_ms"], result["lufs"]]
        for name, result in results.items()
    ]
    show(f"{arguments.sentences} sentences", ["voice", "word errors", "first audio, ms", "LUFS"], rows)
    save(
        "round_trip", {"sentences": arguments.sentences, "voices": {**saved("round_trip").get("voices", {}), **results}}
    )


if __name__ == "__main__":
    main()
