"""The recordings in samples/, what is said in them, and how far a transcript is from it."""

import re
import wave
from pathlib import Path

import jiwer

from services.common.audio import Samples, decode_frames
from tests.support.stt_doubles import PCM16

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
TEXTS = {
    "0870": "and mister john dashwood had then leisure to consider how much there might be prudently in his power to "
    "do for them",
    "0880": "he was not an ill disposed young man",
    "0890": "unless to be rather cold hearted and rather selfish is to be ill disposed",
    "0930": "he might even have been made amiable himself",
}


def recorded(name: str) -> Samples:
    """One of `TEXTS`, 16 kHz."""
    with wave.open(str(SAMPLES / f"austen_{name}.wav")) as file:
        return decode_frames(file.readframes(file.getnframes()), PCM16)


def errors(text: str, *names: str) -> float:
    """Word error rate against what was really said."""
    plain = re.sub(r"[^a-z ]", "", text.lower().replace("-", " ").replace("mr.", "mister"))
    return float(jiwer.wer(" ".join(TEXTS[name] for name in names), plain))
