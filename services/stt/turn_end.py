"""Does what was said so far sound finished? From its words, so that the wait for more can be short or long. Pure.

Final transcripts are punctuated, and in most languages the last word tells more than the punctuation: after "and",
"the" or "because" something is to come, whatever the model has put behind it. A number is read out in groups with
pauses between them, which no model hears as unfinished. A turn-end model (`turn_end_model.py`) may add what it heard.
"""

import re
from enum import Enum

from services.stt.endpointing import EndpointingConfig

_UNFINISHED_WORDS = {
    "en": "a an the and or but nor so because if when while although that which who whose of to in on at for from with "
    "by about into my your his her our their its is are was were be been am i'm you're it's we're they're have has had "
    "will would can could should may might must do does did not very really um uh er erm hmm well like",
    "de": "der die das den dem des ein eine einen einem einer und oder aber denn weil wenn ob dass als wie mit von zu "
    "zum zur im in an am auf für bei aus nach vor über mein meine dein deine sein seine ihr ihre ist sind war waren "
    "habe hat haben hatte wird werden kann muss soll nicht sehr äh ähm hm",
    "fr": "le la les un une des du de et ou mais donc car que qui dont où si quand parce à au aux en dans sur pour par "
    "avec sans chez mon ma mes ton ta tes son sa ses notre votre leur est sont était suis ai as ont avait va très euh",
    "es": "el la los las un una unos unas y e o u pero porque que si cuando como de del a al en con por para sin sobre "
    "mi mis tu tus su sus nuestro es son era está están he ha han muy eh este",
    "it": "il lo la i gli le un uno una e o ma perché che se quando come di del della dei a al alla in nel nella con "
    "per da dal su sul tra mio mia tuo tua suo sua è sono era ho ha hanno molto ehm",
    "pt": "o a os as um uma uns umas e ou mas porque que se quando como de do da dos das em no na nos nas com por para "
    "sem sobre meu minha teu tua seu sua é são era está estão tenho tem muito eh",
    "nl": "de het een en of maar want omdat als dat die wie van in op aan voor met bij uit naar over door mijn jouw "
    "zijn haar ons onze hun is was waren heb heeft had zal kan moet niet zeer eh uhm",
}
_UNFINISHED = {language: frozenset(words.split()) for language, words in _UNFINISHED_WORDS.items()}
_UNFINISHED_ENDINGS = {
    "zh": ("和", "跟", "但是", "因为", "所以", "如果", "的话", "然后", "还有", "比如"),
    "ja": ("が", "けど", "けれど", "ので", "から", "て", "で", "と", "を", "は", "に", "の", "えっと", "あの"),
    "ko": ("고", "지만", "데", "그리고", "그래서", "하지만", "은", "는", "을", "를", "의"),
}
_DIGIT_WORDS = frozenset(
    ["zero", "oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "double", "triple"]
)
_SHORT_ANSWER_ENDS = frozenset(["am", "is", "are", "do", "does", "did", "can"])
_COMPLETE = 0.5
"""Probability from which a turn-end model takes a turn for ended (smart-turn's own value)."""
_FINISHED_MARKS = ".!?。！？।؟…"
_CLOSING = "\"'”’»)]」』"
_DIGIT_GROUP = re.compile(r"(?:^|[^\d,.])(?:\d[\s-]*){3,}$")
"""Three digits and more at the end are probably being dictated, unless they are a thousand's or a year."""
_YEAR = re.compile(r"[^\W\d]{2,}\s+\d{4}$")


class Ending(Enum):
    """How a text ends."""

    FINISHED = "finished"
    OPEN = "open"
    UNFINISHED = "unfinished"


def ending(text: str, language: str) -> Ending:
    """How a text ends, in a language by its two-letter code; of languages without a word list the marks alone tell."""
    said = text.rstrip().rstrip(_CLOSING)
    bare = said.rstrip(_FINISHED_MARKS + ",;:-–—、，")
    if not bare:
        return Ending.OPEN
    if said.endswith(("...", "…", ",", "-", "–", "—", "、", "，")) or _is_dictation(bare):
        return Ending.UNFINISHED
    if bare.endswith(_UNFINISHED_ENDINGS.get(language, ())) and said[-1] not in "?？":
        return Ending.UNFINISHED
    words = bare.split()
    if words[-1].lower().lstrip("¿¡\"'(") in _UNFINISHED.get(language, ()) and not _is_whole(words, said):
        return Ending.UNFINISHED
    return Ending.FINISHED if said[-1] in _FINISHED_MARKS else Ending.OPEN


def with_sound(read: Ending, turn_end_probability: float) -> Ending:
    """How it ends if a model has also heard how likely that is, in [0, 1].

    What was heard moves what was read by one step, so that neither decides alone: a model takes some whole sentences
    for halves, which must not cost the longest wait. What reads unfinished stays it: no model hears that a number
    lacks digits.
    """
    if read is Ending.UNFINISHED:
        return read
    if turn_end_probability >= _COMPLETE:
        return Ending.FINISHED
    return Ending.OPEN if read is Ending.FINISHED else Ending.UNFINISHED


def end_silence_s(
    config: EndpointingConfig, text: str, language: str, turn_end_probability: float | None = None
) -> float:
    """Seconds of silence that end an utterance which reads, and perhaps sounds, like this so far."""
    read = ending(text, language)
    match read if turn_end_probability is None else with_sound(read, turn_end_probability):
        case Ending.FINISHED if config.min_end_silence_s is not None:
            return min(config.min_end_silence_s, config.end_silence_s)
        case Ending.UNFINISHED if config.max_end_silence_s is not None:
            return max(config.max_end_silence_s, config.end_silence_s)
        case _:
            return config.end_silence_s


def _is_whole(words: list[str], said: str) -> bool:
    """ "What is it for?", "Yes, I am.", "I really do.": a question, or a short answer, may end in such a word."""
    return said[-1] in "?？" or (said[-1] in "!." and words[-1].lower() in _SHORT_ANSWER_ENDS)


def _is_dictation(text: str) -> bool:
    """Whether it ends in a group of digits, or is digits as words."""
    if _DIGIT_GROUP.search(text) and not _YEAR.search(text):
        return True
    tail = re.findall(r"[a-z]+", text.lower())[-2:]
    return len(tail) == 2 and all(word in _DIGIT_WORDS for word in tail)
