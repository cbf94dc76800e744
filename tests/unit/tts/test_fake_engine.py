"""The scripted engine."""

import numpy as np
import pytest

from services.tts.domain import Segment
from services.tts.engines.fake import RATE_HZ, FakeEngine


async def spoken(engine: FakeEngine, text: str, rate: float = 1.0) -> list[np.ndarray]:
    await engine.load()
    return [block async for block in engine.synthesize(Segment(text, engine.voices[0], rate))]


@pytest.mark.parametrize(("rate", "seconds"), [(1.0, 3.0), (2.0, 1.5), (0.5, 6.0)])
async def test_audio_is_as_long_as_the_text_is(rate: float, seconds: float) -> None:
    blocks = await spoken(FakeEngine(0, 0.1), "a" * 30, rate)
    assert sum(map(len, blocks)) == round(seconds * RATE_HZ)


async def test_it_is_a_quiet_tone_without_a_click_between_blocks() -> None:
    audio = np.concatenate(await spoken(FakeEngine(0, 0.1), "a" * 25))
    assert 0.01 < np.abs(audio).max() < 0.1
    assert np.abs(np.diff(audio)).max() <= 0.05 * 2 * np.pi * 400 / RATE_HZ + 1e-6


async def test_its_voice_says_that_it_is_fake_and_speaks_any_language() -> None:
    engine = FakeEngine(0, 0.1)
    await engine.load()
    (voice,) = engine.voices
    assert voice.name == engine.default_voice == "fake"
    assert voice.speaks("sw")


async def test_the_delay_comes_once_before_the_first_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("services.tts.engines.fake.asyncio.sleep", sleep)
    assert len(await spoken(FakeEngine(0.25, 0.1), "a" * 30)) == 3
    assert slept == [0.25]
