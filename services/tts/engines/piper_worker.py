"""The program that speaks with piper: run by a Python that has piper-tts, with the files of its voices as arguments.

piper-tts is under the GPL: it lives in a process of its own, and this file imports nothing of Parley. One request a
line comes in (JSON: "voice", the place of its file among the arguments; "text"; "speaker"; "speed"). What goes out is a
length in bytes (a little-endian int32) and so many bytes of samples (float32); below 0, it is that of a message, in
UTF-8. A length of 0 says first that it is ready.
"""

import json
import os
import struct
import sys

import numpy as np
import onnxruntime
from piper import PiperVoice, SynthesisConfig
from piper.config import PiperConfig


def load(path: str, threads: int) -> PiperVoice:
    """A voice that takes so many processor threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    with open(f"{path}.json", encoding="utf-8") as file:
        config = PiperConfig.from_dict(json.load(file))
    return PiperVoice(onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]), config)


def speak(voice: PiperVoice, text: str, speaker: int, speed: float) -> bytes:
    """The samples of a text."""
    config = SynthesisConfig(speaker_id=speaker, length_scale=voice.config.length_scale / speed, normalize_audio=False)
    chunks = [chunk.audio_float_array for chunk in voice.synthesize(text, config)]
    return np.concatenate(chunks).astype("<f4").tobytes() if chunks else b""


def main() -> None:
    """Speak until the standard input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not be taken for samples
    threads, *paths = sys.argv[1:]
    voices = [load(path, int(threads)) for path in paths]

    def answer(length: int, data: bytes) -> None:
        answers.write(struct.pack("<i", length) + data)
        answers.flush()

    answer(0, b"")
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            samples = speak(voices[asked["voice"]], asked["text"], asked["speaker"], asked["speed"])
        except Exception as error:  # noqa: BLE001  one text that it cannot take must not end the program
            message = f"{type(error).__name__}: {error}".encode()
            answer(-len(message), message)
        else:
            answer(len(samples), samples)


if __name__ == "__main__":
    main()
