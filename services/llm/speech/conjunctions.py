"""Words that begin a clause: before one of them the first segment of an answer may end.

The language of an answer is not known here, so words that mean something else in another language of the list are left
out (Dutch "of", French "car").
"""

_WORDS = {
    "en": "and but or because so which who where when while if although though unless until since that whether",
    "de": "und aber oder weil dass wenn denn sondern während obwohl damit",
    "fr": "et mais ou donc parce lorsque quand puisque",
    "es": "pero porque cuando aunque mientras",
    "pt": "mas quando embora enquanto",
    "it": "perché mentre che",
    "nl": "maar omdat wanneer terwijl hoewel",
}
CONJUNCTIONS = tuple(sorted({word for words in _WORDS.values() for word in words.split()}))
