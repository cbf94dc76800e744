"""What a VITS model needs before it can speak, and what any engine with an extra does."""

import sys
from pathlib import Path

import pytest

from services.common.errors import StartupError
from services.common.settings import load
from services.tts import engines
from services.tts.domain import Voice
from services.tts.engines.iso_639 import bcp47
from services.tts.engines.transformers import scripts_of
from services.tts.settings import TtsSettings
from services.tts.text import sentences
from tests.support.tiny_voice import save_tiny_voice


async def voices(folder: Path, *flags: str) -> tuple[Voice, ...]:
    argv = ["--tts", "transformers", "--tts_model_name", str(folder), *flags]
    engine = engines.build(load(TtsSettings, "parley-tts", argv))
    try:
        await engine.load()
        return engine.voices
    finally:
        await engine.aclose()


async def test_a_folder_that_is_missing_or_no_model_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="--tts_model_name: there is no folder"):
        await voices(tmp_path / "nothing")
    with pytest.raises(StartupError, match="cannot load the speech model"):
        await voices(tmp_path)


@pytest.mark.parametrize(("engine", "module"), [("transformers", "torch"), ("openai-api", "openai")])
async def test_a_missing_extra_is_named(engine: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    made = engines.build(load(TtsSettings, "parley-tts", ["--tts", engine, "--tts_api_key", "none"]))
    with pytest.raises(StartupError, match=f"--tts {engine} needs the extra tts-{engine}: .*{module}"):
        await made.load()
    await made.aclose()


async def test_a_model_that_does_not_tell_its_language_needs_to_be_told(tmp_path: Path) -> None:
    folder = save_tiny_voice(tmp_path / "privet", language=None, letters="абвгд")
    with pytest.raises(StartupError, match="set --tts_language"):
        await voices(folder)
    (voice,) = await voices(folder, "--tts_language", "ru")
    assert (voice.name, voice.language_codes, voice.scripts) == ("privet", ("ru",), frozenset({"CYRILLIC"}))


def test_languages_and_scripts_are_known() -> None:
    assert [bcp47(code) for code in ("eng", "azj-script_latin", "ceb", "")] == ["en", "az", "ceb", ""]
    assert scripts_of(["a", "é", "<unk>", "'"]) == frozenset({"LATIN"})
    assert scripts_of(["_"]) is None


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Bach, e.g. J. S. Bach, paid 3.14 euros. Yes.", ["Dr. Bach, e.g. J. S. Bach, paid 3.14 euros.", "Yes."]),
        ("他来了。“好！”他说", ["他来了。", "“好！”", "他说"]),
        ("Line one\nLine two", ["Line one", "Line two"]),
        ('He said "no." Then', ['He said "no."', "Then"]),
    ],
)
def test_sentences(text: str, parts: list[str]) -> None:
    assert sentences(text) == parts
