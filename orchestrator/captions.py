"""The text of a response in step with its audio. Pure."""


class Captions:
    """Hands out what was written as it is being said.

    What is said is the text cleaned for speech, segment by segment: its characters are found in what was written in
    their order, and what stands between them is markup, which goes along with the words before it.
    """

    def __init__(self) -> None:
        self._written = ""
        self._shown = 0
        self._segment = 0
        self._said = 0
        """Characters of the segment that have been found."""

    def write(self, text: str) -> None:
        """More text, as it was written."""
        self._written += text

    def say(self, segment: int, text: str, characters: int) -> str:
        """What to show now that so many characters of this segment (0, 1, …) of cleaned text are said, and all before
        it; nothing where that was shown already.
        """
        if segment < self._segment or (segment == self._segment and characters <= self._said):
            return ""
        if segment > self._segment:
            self._segment, self._said = segment, 0
        position = self._shown
        for character in text[self._said : characters]:
            if not character.isspace():
                found = self._written.find(character, position)
                position = position if found < 0 else found + 1
        self._said = characters
        return self._show(position)

    def rest(self) -> str:
        """What was never said: markup at the end, or all of it where there is no audio."""
        return self._show(len(self._written))

    def _show(self, position: int) -> str:
        shown, self._shown = self._written[self._shown : position], position
        return shown
