"""Between BCP-47 language tags and Whisper's language codes. Pure."""

from collections.abc import Collection

AUTO = "auto"
_WHISPER_CODES = {"fil": "tl", "he": "he", "iw": "he", "in": "id", "jv": "jw", "nb": "no"}
"""Tags whose primary subtag is not Whisper's code for the language."""
_TAGS = {"jw": "jv"}
_WITHOUT_SPACES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})

_WHISPER_NAMES = (
    "en:english zh:chinese de:german es:spanish ru:russian ko:korean fr:french ja:japanese pt:portuguese tr:turkish "
    "pl:polish ca:catalan nl:dutch ar:arabic sv:swedish it:italian id:indonesian hi:hindi fi:finnish vi:vietnamese "
    "he:hebrew uk:ukrainian el:greek ms:malay cs:czech ro:romanian da:danish hu:hungarian ta:tamil no:norwegian "
    "th:thai ur:urdu hr:croatian bg:bulgarian lt:lithuanian la:latin mi:maori ml:malayalam cy:welsh sk:slovak "
    "te:telugu fa:persian lv:latvian bn:bengali sr:serbian az:azerbaijani sl:slovenian kn:kannada et:estonian "
    "mk:macedonian br:breton eu:basque is:icelandic hy:armenian ne:nepali mn:mongolian bs:bosnian kk:kazakh "
    "sq:albanian sw:swahili gl:galician mr:marathi pa:punjabi si:sinhala km:khmer sn:shona yo:yoruba so:somali "
    "af:afrikaans oc:occitan ka:georgian be:belarusian tg:tajik sd:sindhi gu:gujarati am:amharic yi:yiddish lo:lao "
    "uz:uzbek fo:faroese ht:haitian_creole ps:pashto tk:turkmen nn:nynorsk mt:maltese sa:sanskrit lb:luxembourgish "
    "my:myanmar bo:tibetan tl:tagalog mg:malagasy as:assamese tt:tatar haw:hawaiian ln:lingala ha:hausa ba:bashkir "
    "jw:javanese su:sundanese yue:cantonese"
)
_CODES_BY_NAME = {
    name.replace("_", " "): code for code, _, name in (entry.partition(":") for entry in _WHISPER_NAMES.split())
}
WHISPER_CODES = tuple(_CODES_BY_NAME.values())
"""The languages of multilingual Whisper models."""


def code_of_name(name: str) -> str | None:
    """Whisper's code for a language by its English name or its code, as servers tell it; None for any other."""
    lowered = name.lower()
    return lowered if lowered in WHISPER_CODES else _CODES_BY_NAME.get(lowered)


def match(tag: str, known: Collection[str]) -> str | None:
    """The model's code for a tag ("en-GB" is "en", "nb" is "no"); None where the model does not know the language."""
    primary = tag.replace("_", "-").partition("-")[0].lower()
    code = _WHISPER_CODES.get(primary, primary)
    return code if code in known else None


def tag_of(code: str) -> str:
    """The BCP-47 tag of a model's code."""
    return _TAGS.get(code, code)


def has_spaces(code: str) -> bool:
    """Whether words are written apart in the language of a model's code."""
    return code not in _WITHOUT_SPACES


def join(texts: Collection[str], code: str) -> str:
    """Texts of neighbouring stretches of speech as one; with spaces where the language has them."""
    return (" " if has_spaces(code) else "").join(text for text in texts if text)
