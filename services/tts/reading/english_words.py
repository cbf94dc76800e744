"""Words that English readers put in place of others. Data alone."""

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
CURRENCIES = {
    "$": ("dollar", "cent"),
    "US$": ("U.S. dollar", "cent"),
    "€": ("euro", "cent"),
    "£": ("pound", "penny"),
    "¥": ("yen", ""),
    "₹": ("rupee", "paisa"),
    "₩": ("won", ""),
    "USD": ("U.S. dollar", "cent"),
    "EUR": ("euro", "cent"),
    "GBP": ("British pound", "penny"),
    "CHF": ("Swiss franc", "centime"),
    "JPY": ("yen", ""),
}
"""What is paid, and the hundredth of it."""
SCALES = {
    "k": "thousand", "m": "million", "mn": "million", "b": "billion", "bn": "billion", "t": "trillion",
}  # fmt: skip
UNITS = {
    "km": "kilometer", "m": "meter", "cm": "centimeter", "mm": "millimeter", "mi": "mile", "ft": "foot",
    "kg": "kilogram", "g": "gram", "mg": "milligram", "lb": "pound", "lbs": "pound", "oz": "ounce", "l": "liter",
    "L": "liter", "ml": "milliliter", "mL": "milliliter", "km²": "square kilometer", "m²": "square meter",
    "h": "hour", "hr": "hour", "hrs": "hour", "min": "minute", "mins": "minute", "sec": "second", "s": "second",
    "ms": "millisecond", "Hz": "hertz", "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz", "KB": "kilobyte",
    "kB": "kilobyte", "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte", "Mbps": "megabit per second", "W": "watt",
    "kW": "kilowatt", "kWh": "kilowatt hour", "V": "volt", "mph": "mile per hour", "km/h": "kilometer per hour",
    "kph": "kilometer per hour", "m/s": "meter per second", "°C": "degree Celsius", "°F": "degree Fahrenheit",
    "°": "degree",
}  # fmt: skip
PLURALS = {
    "penny": "pence", "foot": "feet", "inch": "inches", "yen": "yen", "won": "won", "paisa": "paise",
    "hertz": "hertz",
}  # fmt: skip
"""Those that do not end in an s."""
ABBREVIATIONS = {
    "Mr": "Mister", "Mrs": "Missus", "Ms": "Miz", "Dr": "Doctor", "Prof": "Professor", "Gen": "General",
    "Sen": "Senator", "Rep": "Representative", "Gov": "Governor", "Capt": "Captain", "Lt": "Lieutenant",
    "Sgt": "Sergeant", "Rev": "Reverend", "Mt": "Mount", "Ft": "Fort", "Jr": "Junior", "Sr": "Senior",
    "Inc": "Incorporated", "Ltd": "Limited", "Corp": "Corporation", "Co": "Company", "Dept": "Department",
    "Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road", "vs": "versus", "approx": "approximately",
    "appt": "appointment", "est": "established", "ext": "extension", "tel": "telephone", "min": "minimum",
    "max": "maximum", "Mon": "Monday", "Tue": "Tuesday", "Tues": "Tuesday", "Wed": "Wednesday", "Thu": "Thursday",
    "Thurs": "Thursday", "Fri": "Friday", "Sat": "Saturday", "Sun": "Sunday",
}  # fmt: skip
TITLES = ("Mr", "Mrs", "Ms", "Dr", "Prof", "Gen", "Sen", "Rep", "Gov", "Capt", "Lt", "Sgt", "Rev", "Mt", "Ft", "St")
"""Abbreviations that a name follows; the others end one, or stand alone."""
KINGS = (
    "Henry", "George", "Louis", "Charles", "Edward", "William", "James", "Richard", "Elizabeth", "Mary", "Pope", "Pius",
    "Leo", "Napoleon", "Philip", "Ivan",
)  # fmt: skip
"""Whom a Roman number follows that is an ordinal."""
CHAPTERS = ("Chapter", "Part", "Volume", "Act", "Scene", "Section", "Phase", "Type", "Level", "Article", "War", "Bowl")
"""What a Roman number follows that is a cardinal."""
FRACTIONS = {2: "half", 3: "third", 4: "quarter"}
