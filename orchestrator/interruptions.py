"""Which words of the user interrupt the agent, and which only say that they listen. Pure.

The lists hold what listeners say without taking the turn (backchannels), as recognizers write it; each language has its
own, and sounds that are the same everywhere are in all of them. Words that stop somebody ("no", "wait", "stop") or ask
for something are never listed.
"""

import unicodedata

_SOUNDS = ("ah", "aha", "ahem", "eh", "ha", "haha", "hm", "hmm", "mhm", "mm", "mmhm", "oh", "ooh", "uh", "um", "uhhuh")
_WORDS: dict[str, tuple[str, ...]] = {
    "en": (
        *("yeah", "yes", "yep", "yup", "ok", "okay", "right", "alright", "sure", "i see", "got it", "really", "wow"),
        *("cool", "great", "good", "nice", "fine", "true", "exactly", "of course", "uh huh", "mm hmm", "mm hm", "huh"),
        *("interesting", "indeed", "makes sense"),
    ),
    "de": (
        *(
            "ja",
            "jo",
            "jep",
            "ok",
            "okay",
            "genau",
            "stimmt",
            "richtig",
            "klar",
            "gut",
            "achso",
            "ach so",
            "aha",
            "mhm",
        ),
        *("verstehe", "ich verstehe", "alles klar", "super", "schön", "wirklich", "interessant", "na klar", "eben"),
    ),
    "fr": (
        *("oui", "ouais", "ok", "okay", "daccord", "bien", "bien sûr", "très bien", "voilà", "exactement", "ah bon"),
        *("je vois", "je comprends", "super", "cest ça", "vraiment", "en effet", "mouais"),
    ),
    "es": (
        *("sí", "si", "ok", "okay", "vale", "claro", "ya", "bueno", "bien", "exacto", "de acuerdo", "ya veo", "ajá"),
        *("entiendo", "perfecto", "genial", "de verdad", "así es"),
    ),
    "it": (
        *("sì", "si", "ok", "okay", "va bene", "certo", "giusto", "esatto", "bene", "capisco", "ho capito", "davvero"),
        *("chiaro", "perfetto", "già", "ecco"),
    ),
    "pt": (
        *("sim", "ok", "okay", "tá", "tá bom", "certo", "claro", "entendi", "isso", "exato", "bom", "pois", "pois é"),
        *("é", "aham", "legal", "sério", "verdade"),
    ),
    "nl": (
        *("ja", "jawel", "ok", "oké", "okay", "goed", "precies", "klopt", "juist", "ik snap het", "ik begrijp het"),
        *("prima", "zeker", "echt", "leuk"),
    ),
    "pl": ("tak", "ok", "okej", "dobrze", "jasne", "rozumiem", "racja", "właśnie", "aha", "super", "naprawdę"),
    "ru": (
        "да",
        "ага",
        "угу",
        "ок",
        "окей",
        "хорошо",
        "понятно",
        "ясно",
        "точно",
        "верно",
        "конечно",
        "правда",
        "ну да",
    ),
    "ja": (
        *("はい", "ええ", "うん", "うんうん", "そう", "そうですね", "なるほど", "へえ", "ほう", "ああ", "はいはい"),
        *("そうですか", "わかりました", "オッケー", "本当", "ふーん"),
    ),
    "zh": ("嗯", "嗯嗯", "哦", "好", "好的", "对", "对对", "是", "是的", "行", "明白", "知道了", "真的", "啊", "没错"),
    "ko": (
        "네",
        "예",
        "응",
        "음",
        "어",
        "그래",
        "그래요",
        "맞아",
        "맞아요",
        "알겠어요",
        "알겠습니다",
        "아",
        "정말",
        "그렇군요",
    ),
    "hi": ("हाँ", "हां", "जी", "जी हाँ", "जी हां", "अच्छा", "ठीक", "ठीक है", "सही", "हम्म", "ओके", "समझ गया", "समझ गई"),
}
_ECHO_SHARE = 0.8
"""Share of the words heard that the agent must just have said for them to be its own voice."""
_ECHO_S = 5.0
"""So long after audio was sent its echo may still be transcribed: the lead of the audio, the wait for the end of the
utterance, and recognition."""


def normalized(text: str) -> str:
    """A transcript without what two recognitions of the same words differ in: case, punctuation, hyphens, spacing."""
    kept = [
        " " if not _in_word(character) and character not in "'’" else character if _in_word(character) else ""
        for character in unicodedata.normalize("NFKC", text).casefold()
    ]
    return " ".join("".join(kept).split())


def interrupts(text: str, language_code: str) -> bool:
    """Whether these words take the turn from the agent; neither silence nor a backchannel does.

    Args:
        language_code: BCP-47; where it is empty or not known, the lists of all languages count.
    """
    words = normalized(text)
    return bool(words) and not _is_backchannel(words, _phrases(language_code.partition("-")[0].lower()))


class Echo:
    """Remembers what the agent has just said, to know it again when it comes back through the user's microphone."""

    def __init__(self) -> None:
        self._said: frozenset[str] = frozenset()
        self._until = 0.0

    def spoken(self, text: str, now: float) -> None:
        """The agent is saying this."""
        self._said = frozenset(normalized(text).split())
        self._until = now + _ECHO_S

    def is_of(self, text: str, now: float) -> bool:
        """Whether these words are the agent's own, but for what a recognizer hears wrong."""
        heard = normalized(text).split()
        if not heard or now > self._until:
            return False
        return sum(word in self._said for word in heard) >= _ECHO_SHARE * len(heard)


def _is_backchannel(words: str, phrases: frozenset[str]) -> bool:
    """Whether the words are phrases of the list, one after another: "yeah, okay, i see"."""
    parts = words.split()
    reachable = {0}
    for end in range(1, len(parts) + 1):
        starts = range(max(0, end - _LONGEST_PHRASE), end)
        if any(start in reachable and " ".join(parts[start:end]) in phrases for start in starts):
            reachable.add(end)
    return len(parts) in reachable


def _phrases(language: str) -> frozenset[str]:
    return _PHRASES.get(language) or _ALL


def _in_word(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character).startswith("M")


_PHRASES = {language: frozenset(map(normalized, (*_SOUNDS, *phrases))) for language, phrases in _WORDS.items()}
_ALL = frozenset().union(*_PHRASES.values())
_LONGEST_PHRASE = max(phrase.count(" ") + 1 for phrase in _ALL)
