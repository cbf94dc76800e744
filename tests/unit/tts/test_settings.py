"""The flags of the service and the engines that they choose."""

import sys

import pytest

from services.common.settings import SettingsError, load
from services.tts import engines
from services.tts.settings import TtsSettings


def settings(*argv: str) -> TtsSettings:
    return load(TtsSettings, "parley-tts", argv)


def test_hibari_on_its_own_port_is_the_default() -> None:
    assert (settings().tts, settings().port, settings().metrics_port) == ("hibari", 50053, -1)


def test_an_unknown_engine_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        SettingsError,
        match="--tts: Input should be 'hibari', 'kokoro', 'piper', 'espeak-ng', 'transformers', 'openai-api' or 'fake'",
    ):
        settings("--tts", "festival")


@pytest.mark.parametrize("name", ["hibari", "espeak-ng", "fake"])
async def test_every_engine_of_the_flag_is_built_under_its_name(name: str) -> None:
    engine = engines.build(settings("--tts", name))
    assert engine.name == name
    await engine.aclose()


def test_the_fake_engine_takes_its_script_from_the_flags() -> None:
    engine = engines.build(settings("--tts", "fake", "--fake_tts_delay_ms", "50", "--fake_tts_ms_per_character", "10"))
    assert vars(engine)["_delay_s"] == 0.05
    assert vars(engine)["_s_per_character"] == 0.01


def test_choosing_the_fake_engine_imports_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("hibari", "services.tts.engines.hibari", "services.tts.engines.espeak_ng"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    engines.build(settings("--tts", "fake"))
    assert "hibari" not in sys.modules
    assert "services.tts.engines.hibari" not in sys.modules
