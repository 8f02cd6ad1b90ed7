"""Text for people: values from outside, shown short, on one line, and never an error themselves; numbers and nouns.

``repr`` and ``str`` of what is nested a thousand deep, which JSON may be, end in a RecursionError: nothing here looks
inside a list or an object.
"""

import re
from collections.abc import Sequence
from decimal import Decimal

_LOGIN = re.compile(r"(?<=://)[^/@\s]*@")  # in an address


def quoted(value: object, max_characters: int = 40) -> str:
    """A value as code would spell it, cut to so many characters; a list or object only by its type."""
    if isinstance(value, str):
        return repr(value[:max_characters])[:max_characters]
    if value is None or isinstance(value, bool | int | float):
        return repr(value)[:max_characters]
    return f"of type {type(value).__name__}"


def printable(value: object, max_characters: int | None = 200) -> str:
    """Somebody else's words, cut to so many characters if any, with nothing in them that could move a cursor."""
    if not isinstance(value, str):
        return quoted(value, max_characters or 200)
    return "".join(character if character.isprintable() else "?" for character in value[:max_characters])


def without_passwords(text: str) -> str:
    """A text whose addresses tell neither user nor password."""
    return _LOGIN.sub("***@", text)


def decimal_text(value: float) -> str:
    """The shortest decimal that leads back to a float64, without an exponent."""
    text = format(Decimal(repr(value)), "f")
    return text.removesuffix(".0")


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number and its noun, such as ``1 candle`` and ``1,000 candles``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def listed(names: Sequence[object], max_names: int = 5) -> str:
    """The first few names, such as ``A, B, …``."""
    return ", ".join([*map(str, names[:max_names]), *(["…"] if len(names) > max_names else [])])
