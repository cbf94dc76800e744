"""What a voice says before anybody hears it: to be warm, and to be measured. Pure."""

import unicodedata

from services.tts.domain import Voice

SAMPLE_TEXTS = (
    "The north wind and the sun were arguing which of them was the stronger. They agreed that whoever made a traveller "
    "take off his cloak was to be called so.",
    "Однажды северный ветер и солнце поспорили, кто из них сильнее.",
    "كانت ريح الشمال تتجادل والشمس في أي منهما كانت أقوى من الأخرى",
    "उत्तरी हवा और सूरज इस बात पर झगड़ रहे थे कि हम दोनों में ज़्यादा बलवान कौन है।",
    "北风跟太阳正在那儿争论谁的本事大。",
    "北風と太陽が、どちらが強いか言い争っていました。",
    "북풍과 해님이 누가 힘이 더 센지 다투고 있었습니다.",
    "Ο βοριάς κι ο ήλιος μάλωναν για το ποιος από τους δυο είναι ο δυνατότερος.",
    "ลมเหนือและดวงอาทิตย์กำลังเถียงกันว่าใครจะมีพลังมากกว่ากัน",
    "רוח הצפון והשמש התווכחו מי מהם חזק יותר",
)
"""The beginning of the fable with which phoneticians compare languages (Handbook of the IPA)."""


def sample_text(voice: Voice) -> str:
    """A sentence in a script that the voice can read; the first one where it knows none of these."""
    known = voice.scripts
    return next((text for text in SAMPLE_TEXTS if known is None or _scripts(text) <= known), SAMPLE_TEXTS[0])


def _scripts(text: str) -> set[str]:
    return {unicodedata.name(character).split()[0] for character in text if character.isalpha()}
