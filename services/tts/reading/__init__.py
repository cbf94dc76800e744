"""Text as people say it: numbers, dates, money, addresses and abbreviations in words. Pure functions."""

from services.tts.domain import primary_subtag


def as_said(text: str, language_code: str) -> str:
    """The text in words, in the languages that have rules."""
    if primary_subtag(language_code) == "en":
        from services.tts.reading import english

        return english.read(text)
    return text
