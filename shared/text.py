"""Values from outside, as a message of ours may show them: short, on one line, and never an error themselves.

``repr`` and ``str`` of what is nested a thousand deep, which JSON may be, end in a RecursionError: nothing here looks
inside a list or an object.
"""


def shown(value: object, most: int = 40) -> str:
    """A value as code would spell it, at most so many characters of it; a list or object only by its type."""
    if isinstance(value, str):
        return repr(value[:most])[:most]
    if value is None or isinstance(value, bool | int | float):
        return repr(value)[:most]
    return f"of type {type(value).__name__}"


def told(value: object, most: int = 200) -> str:
    """Somebody else's words, at most so many characters of them, and nothing that could move a cursor."""
    if not isinstance(value, str):
        return shown(value, most)
    return "".join(one if one.isprintable() else "?" for one in value[:most])


def counted(count: int, one: str, many: str = "") -> str:
    """A number and its noun, such as ``1 candle`` and ``1,000 candles``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
