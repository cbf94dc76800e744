"""Where in a generated text the user stopped hearing it. Pure."""

_CLOSING = frozenset("*_`~")
"""Markup that belongs to the text before it."""


def cut_to_heard(generated: str, heard: str) -> str:
    """The beginning of `generated` that holds what was heard, byte for byte.

    What is heard is the text cleaned for speech, so the characters of `heard` are found in `generated` in their order,
    and what stands between them is markup. A text that cannot be found so is kept as it was heard.
    """
    position = 0
    for character in heard:
        if character.isspace():
            continue
        position = generated.find(character, position) + 1
        if not position:
            return heard
    while position and generated[position : position + 1] in _CLOSING:
        position += 1
    return generated[:position]


def is_whole(generated: str, heard: str) -> bool:
    """Whether what was heard is all that could be: nothing but markup, space and punctuation follows."""
    cut = cut_to_heard(generated, heard)
    return generated.startswith(cut) and not any(character.isalnum() for character in generated[len(cut) :])
