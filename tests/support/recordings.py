"""The recordings in samples/, what is said in them, how far a transcript is from it; and announcements of Asterisk, the
telephone exchange, in other languages, where Debian's packages of them are installed.
"""

import re
import wave
from pathlib import Path

import jiwer
import soundfile

from services.common.audio import Samples, decode_frames, resample
from tests.support.stt_doubles import PCM16

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
TEXTS = {
    "0870": "and mister john dashwood had then leisure to consider how much there might be prudently in his power to "
    "do for them",
    "0880": "he was not an ill disposed young man",
    "0890": "unless to be rather cold hearted and rather selfish is to be ill disposed",
    "0930": "he might even have been made amiable himself",
}
PROMPTS = {
    language: Path("/usr/share/asterisk/sounds") / speaker / "vm-nobodyavail.gsm"
    for language, speaker in {
        "es": "es_MX_f_Allison",
        "fr": "fr_CA_f_June",
        "it": "it_IT_m_Carlo",
        "ru": "ru_RU_f_IvrvoiceRU",
    }.items()
}
"""By language: that nobody can take the call at the moment."""


def recorded(name: str) -> Samples:
    """One of `TEXTS`, 16 kHz."""
    with wave.open(str(SAMPLES / f"austen_{name}.wav")) as file:
        return decode_frames(file.readframes(file.getnframes()), PCM16)


def prompt(language: str) -> Samples:
    """One of `PROMPTS`, 16 kHz, as a telephone sounds."""
    samples, rate_hz = soundfile.read(
        PROMPTS[language], dtype="float32", format="RAW", subtype="GSM610", samplerate=8_000, channels=1
    )
    return resample(samples, rate_hz, 16_000)


def errors(text: str, *names: str) -> float:
    """Word error rate against what was really said."""
    plain = re.sub(r"[^a-z ]", "", text.lower().replace("-", " ").replace("mr.", "mister"))
    return float(jiwer.wer(" ".join(TEXTS[name] for name in names), plain))
