"""Ends an answer at a stop string, wherever the chunks are cut. Pure."""


class StopStrings:
    """Lets text through up to the first stop string; what may be the beginning of one waits."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._beginnings = frozenset(stop[:length] for stop in stops for length in range(1, len(stop)))
        self._longest = max((len(stop) for stop in stops), default=0)
        self._rest = ""
        self.hit = False
        """Whether a stop string has come: nothing follows it."""

    def feed(self, text: str) -> str:
        """The part of the text so far that is certain, and new."""
        if not self._stops:
            return text
        if self.hit:
            return ""
        text = self._rest + text
        # The one that is complete first, whatever is complete later: so the chunking does not matter.
        found = [(text.index(stop) + len(stop), text.index(stop)) for stop in self._stops if stop in text]
        if found:
            self.hit, self._rest = True, ""
            return text[: min(found)[1]]
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            if text[start:] in self._beginnings:
                self._rest = text[start:]
                return text[:start]
        self._rest = ""
        return text

    def finish(self) -> str:
        """Nothing follows: what waited is text."""
        rest, self._rest = self._rest, ""
        return rest
