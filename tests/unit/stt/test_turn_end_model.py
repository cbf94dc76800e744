"""The turn-end model: where it is found, and what it hears in recorded speech."""

import wave
from pathlib import Path

import pytest

from services.common.audio import decode_frames
from services.common.errors import StartupError
from services.stt.turn_end_model import SmartTurn
from services.stt.weights import locate_turn_end
from tests.support.stt_doubles import PCM16

SAMPLES = Path(__file__).resolve().parents[3] / "samples"


def test_a_missing_file_is_named() -> None:
    with pytest.raises(StartupError, match=r"--turn_end_model \./no\.onnx: neither smart-turn nor a file"):
        locate_turn_end("./no.onnx")


async def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "broken.onnx"
    file.write_bytes(b"no model")
    model = SmartTurn(str(file))
    with pytest.raises(StartupError, match="is no smart-turn model"):
        await model.load()
    await model.aclose()


async def test_a_whole_sentence_sounds_finished_and_half_of_one_does_not() -> None:
    try:
        locate_turn_end("smart-turn")
    except StartupError as missing:
        pytest.skip(str(missing))
    model = SmartTurn("smart-turn")
    await model.load()
    with wave.open(str(SAMPLES / "austen_0870.wav")) as file:
        samples = decode_frames(file.readframes(file.getnframes()), PCM16)
    assert await model.probability(samples) > 0.8
    assert await model.probability(samples[: 16_000 * 17 // 4]) < 0.2
    await model.aclose()
