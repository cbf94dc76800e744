"""The table of voices that espeak-ng prints."""

import pytest

from services.common.audio_format import AudioFormat, Encoding
from services.tts.engines.espeak_voices import bcp47_case, parse_voices

NATIVE = AudioFormat(Encoding.PCM_S16LE, 22_050)
TABLE = """\
Pty Language       Age/Gender VoiceName          File                 Other Languages
 5  af              --/M      Afrikaans          gmw/af
 5  chr-US-Qaaa-x-west --/M      Cherokee_          iro/chr
 5  cmn             --/M      Chinese_(Mandarin,_latin_as_English) sit/cmn              (zh-cmn 5)(zh 5)
 2  en-us           --/M      English_(America)  gmw/en-US            (en 3)
 5  yue             --/M      Chinese_(Cantonese) sit/yue              (zh-yue 5)(zh 8)
 5  yue             --/M      Chinese_(Cantonese,_latin_as_Jyutping) sit/yue-Latn-jyutping (zh-yue 5)(zh 8)
 5  en              20/F      us-mbrola-1        mb/mb-us1

"""


def test_voices_are_named_by_their_file_and_speak_their_languages() -> None:
    voices = parse_voices(TABLE, "espeak-ng", NATIVE)
    assert {voice.name: voice.language_codes for voice in voices} == {
        "af": ("af",),
        "chr": ("chr-US-Qaaa-x-west",),
        "cmn": ("cmn", "zh-cmn", "zh"),
        "en-US": ("en-US", "en"),
        "yue": ("yue", "zh-yue", "zh"),
        "yue-Latn-jyutping": ("yue", "zh-yue", "zh"),
    }
    assert {(voice.engine, voice.native_format, voice.scripts) for voice in voices} == {("espeak-ng", NATIVE, None)}


@pytest.mark.parametrize(
    ("code", "usual"),
    [("EN-us", "en-US"), ("uz-latn", "uz-Latn"), ("en-gb-x-rp", "en-GB-x-rp"), ("es-419", "es-419"), ("fr", "fr")],
)
def test_codes_get_their_usual_case(code: str, usual: str) -> None:
    assert bcp47_case(code) == usual
