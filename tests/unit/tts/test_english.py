"""Text as it is read aloud in English."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tts.reading.english import read


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # Numbers
        ("7 of 12", "seven of twelve"),
        ("1,234 people", "one thousand two hundred thirty-four people"),
        ("3.14 and -7", "three point one four and minus seven"),
        ("0.5%", "zero point five percent"),
        ("agent 007", "agent zero zero seven"),
        ("10-12 people", "ten to twelve people"),
        ("1/2 or 3/4", "one half or three quarters"),
        ("3x faster, 4x6", "three times faster, four by six"),
        ("the 1st, 2nd and 23rd", "the first, second and twenty-third"),
        ("12345678901234567890", " ".join(["one two three four five six seven eight nine zero"] * 2)),
        ("No. 5 and #3", "number five and number three"),
        # Dates and times
        ("on 2024-12-25", "on December twenty-fifth, twenty twenty-four"),
        ("on 03/04/2025", "on March fourth, twenty twenty-five"),
        ("on 25/12/99", "on December twenty-fifth, nineteen ninety-nine"),
        ("May 3, 2005", "May third, two thousand five"),
        ("The 2nd of May", "The second of May"),
        ("3 Jan. 1999", "the third of January, nineteen ninety-nine"),
        ("June 2010", "June twenty ten"),
        ("in 1984", "in nineteen eighty-four"),
        ("in 1984 cases", "in one thousand nine hundred eighty-four cases"),
        ("the 1990s and '80s", "the nineteen nineties and eighties"),
        ("at 7:30 p.m. today", "at seven thirty P.M. today"),
        ("at 7 am.", "at seven A.M."),
        ("at 15:45", "at fifteen forty-five"),
        ("at 9:05", "at nine oh five"),
        ("at 9:00", "at nine o'clock"),
        # Money
        ("$1,234.56", "one thousand two hundred thirty-four dollars and fifty-six cents"),
        ("$1", "one dollar"),
        ("$0.99", "ninety-nine cents"),
        ("£3.01", "three pounds and one penny"),
        ("20 €", "twenty euros"),
        ("$2.5 billion, €5M", "two point five billion dollars, five million euros"),
        ("¥500", "five hundred yen"),
        # Units
        ("21°C, 5 km", "twenty-one degrees Celsius, five kilometers"),
        ("1 kg at 60 mph", "one kilogram at sixty miles per hour"),
        ("6 ft, 8GB, 3.2 GHz", "six feet, eight gigabytes, three point two gigahertz"),
        # Addresses and telephones
        ("jane.doe@example.org.", "jane dot doe at example dot org."),
        ("https://www.example.com/help?", "W W W dot example dot com slash help?"),
        ("go to parley.dev", "go to parley dot dev"),
        ("call 555-123-4567", "call five five five, one two three, four five six seven"),
        ("+1 (415) 555-2671", "plus one, four one five, five five five, two six seven one"),
        ("call 555-0199.", "call five five five, zero one nine nine."),
        ("192.168.0.1", "one nine two dot one six eight dot zero dot one"),
        ("version 2.0.1", "version two point zero point one"),
        # Abbreviations
        ("Dr. Smith vs. Mr. Jones", "Doctor Smith versus Mister Jones"),
        ("St. John in Baker St.", "Saint John in Baker Street."),
        ("fruit, e.g. apples, etc.", "fruit, for example, apples, et cetera."),
        ("Henry VIII, Chapter IV", "Henry the eighth, Chapter four"),
        ("flight BA2490, B12", "flight BA two four nine zero, B twelve"),
        ("Tom & Jerry", "Tom and Jerry"),
    ],
)
def test_it_is_what_people_say(text: str, said: str) -> None:
    assert read(text) == said


@pytest.mark.parametrize(
    "text",
    [
        "May I come in? March on.",
        "I am no. Well, no.",
        "The sun and the mon.key",
        "A well-known e.coli-free U.S. thing",
        "I.V. drip",
        "Sat down at the co-op",
        "I said so.",
        "Hello.World and a/b",
    ],
)
def test_what_only_looks_like_it_is_left_alone(text: str) -> None:
    assert read(text) == text


@given(st.text(alphabet="0123456789 .,:/-$%abMT°@'+()st", max_size=40))
def test_no_text_breaks_it(text: str) -> None:
    read(text)
