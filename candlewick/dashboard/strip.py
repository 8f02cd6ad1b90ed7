"""A series' last days as a strip, a letter a day, the worst that holds of the day. Pure.

``.`` nothing is expected; ``r`` all that is expected was recorded; ``f`` part of it was fetched over REST, as a repair
or from history; ``a`` the exchange does not have part of it; ``m`` part of it is missing, ``M`` all of it.
"""

from collections.abc import Iterable
from datetime import date

from shared.coverage import Tally
from shared.interval import DAY_MS, Interval
from shared.spans import Spans

_EPOCH = date(1970, 1, 1).toordinal()


def strip_of(
    tallies: Iterable[tuple[str, Tally]], fetched: Spans, first_ms: int, days: int, interval: Interval = Interval.M1
) -> str:
    """So many days from ``first_ms`` on, which is a midnight in UTC ms, as letters.

    ``tallies`` are by date, as an audit has them, a candle of several days at its first; ``fetched`` are open times.
    """
    strip = ["."] * days
    for name, tally in tallies:
        begin_ms = (date.fromisoformat(name).toordinal() - _EPOCH) * DAY_MS
        end_ms = max(begin_ms + DAY_MS, interval.end(begin_ms))
        found = letter(tally, is_fetched=bool(fetched.between(begin_ms, begin_ms + DAY_MS)))
        for at in range((begin_ms - first_ms) // DAY_MS, (end_ms - first_ms) // DAY_MS):
            if 0 <= at < days:
                strip[at] = found
    return "".join(strip)


def letter(tally: Tally, *, is_fetched: bool) -> str:
    """One day."""
    if tally.missing:
        return "m" if tally.present else "M"
    if tally.absent:
        return "a"
    if not tally.present:
        return "."
    return "f" if is_fetched else "r"
