"""Which languages are written in which scripts, where that is not the Latin one. Pure.

Scripts are named as the first word of Unicode's character names, as in `Voice.scripts`.
"""

_LATIN = "LATIN"
_LANGUAGES = {
    "CYRILLIC": ("ru", "uk", "bg", "sr", "mk", "be", "kk", "ky", "tt"),
    "ARABIC": ("ar", "fa", "ur"),
    "DEVANAGARI": ("hi", "mr", "ne"),
    "BENGALI": ("bn",),
    "GUJARATI": ("gu",),
    "GURMUKHI": ("pa",),
    "KANNADA": ("kn",),
    "MALAYALAM": ("ml",),
    "TAMIL": ("ta",),
    "TELUGU": ("te",),
    "SINHALA": ("si",),
    "THAI": ("th",),
    "HEBREW": ("he",),
    "GREEK": ("el",),
    "GEORGIAN": ("ka",),
    "ARMENIAN": ("hy",),
    "ETHIOPIC": ("am",),
    "HIRAGANA": ("ja",),
    "KATAKANA": ("ja",),
    "HANGUL": ("ko",),
    "CJK": ("zh", "cmn", "yue", "ja"),
}
"""The most spoken language of a script first."""


def scripts_of_language(language_code: str) -> frozenset[str]:
    """The scripts in which a text of the language may be; Latin words are in all."""
    primary = language_code.partition("-")[0].lower()
    return frozenset({_LATIN, *(script for script, languages in _LANGUAGES.items() if primary in languages)})


def language_of_script(script: str) -> str:
    """The language that a text in this script most likely is in; "" for the Latin one and for those not known."""
    return _LANGUAGES.get(script, ("",))[0]
