"""When a trouble is told, and when its end. Pure: looks and times in, messages out.

    seen ──(it lasts)──▶ told ──(gone for as long)──▶ all clear

What comes and goes within ``lasting_seconds`` is not told. All that is to be told goes into one message, and two
messages have ``pause_seconds`` between them. A message that nobody took is not lost: what it told is told again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple

from shared.settings.sections import AlarmSettings
from shared.text import counted


class Message(NamedTuple):
    """What people are told at once.

    Attributes:
        title: how many alarms there are, and on which host.
        lines: new alarms, then all-clears, then, in a daily message, what lasts.
        is_well: whether nothing is wrong any more.
    """

    title: str
    lines: tuple[str, ...]
    is_well: bool


@dataclass(slots=True)
class _Trouble:
    text: str
    since: float
    seen: float
    is_told: bool = False


class AlarmBook:
    """Troubles by their keys, and what people know of them. Times are seconds of one clock, ``moment`` is in UTC."""

    def __init__(self, settings: AlarmSettings, host: str, moment: datetime) -> None:
        self._settings = settings
        self._host = host
        self._troubles: dict[str, _Trouble] = {}
        self._sent_at: float | None = None
        self._pending: tuple[list[str], list[str]] = [], []  # keys that the message under way tells, and clears
        self._next_daily = _next(settings.daily, moment)

    def look(
        self,
        found: Mapping[str, str],
        now: float,
        moment: datetime,
        is_hidden: Callable[[str], bool] = lambda _: False,
    ) -> Message | None:
        """Take in what is wrong now; what to send, if it is time to. Call ``sent`` or ``failed`` then.

        Of what ``is_hidden`` nobody knows whether it is over: it stays as it was.
        """
        for key, trouble in self._troubles.items():
            if key not in found and is_hidden(key):
                trouble.seen = now
        for key, text in found.items():
            trouble = self._troubles.setdefault(key, _Trouble(text, now, now))
            trouble.text, trouble.seen = text, now
        lasting = self._settings.lasting_seconds
        for key, trouble in list(self._troubles.items()):
            if key not in found and not trouble.is_told and not is_hidden(key):
                del self._troubles[key]
        new = [key for key in found if not self._troubles[key].is_told and now - self._troubles[key].since >= lasting]
        over = [key for key, one in self._troubles.items() if one.is_told and key not in found and not is_hidden(key)]
        gone = [key for key in over if now - self._troubles[key].seen >= lasting]
        is_daily = self._next_daily is not None and moment >= self._next_daily
        if self._sent_at is not None and now - self._sent_at < self._settings.pause_seconds:
            return None
        if not new and not gone and not is_daily:
            return None
        self._pending = new, gone
        return self._message(new, gone, is_daily=is_daily)

    def sent(self, now: float, moment: datetime) -> None:
        """The message that ``look`` gave has been sent."""
        new, gone = self._pending
        for key in new:
            self._troubles[key].is_told = True
        for key in gone:
            del self._troubles[key]
        self._sent_at, self._pending = now, ([], [])
        if self._next_daily is not None and moment >= self._next_daily:
            self._next_daily = _next(self._settings.daily, moment)

    def failed(self, now: float) -> None:
        """Nobody took the message: what it told is told again, after a pause."""
        self._sent_at, self._pending = now, ([], [])

    def _message(self, new: list[str], gone: list[str], *, is_daily: bool) -> Message:
        lasting = [key for key, one in self._troubles.items() if one.is_told and key not in gone]
        count = len(new) + len(lasting)
        lines = [self._troubles[key].text for key in new]
        lines += [f"all clear: {self._troubles[key].text}" for key in gone]
        if is_daily:
            lines += [f"still: {self._troubles[key].text}" for key in lasting]
        state = counted(count, "alarm", "alarms") if count else "all well"
        return Message(f"Candlewick on {self._host}: {state}", tuple(lines or ["all well"]), is_well=not count)


def _next(daily: str, moment: datetime) -> datetime | None:
    """The first moment after this one at that time of day."""
    if not daily:
        return None
    at = datetime.combine(moment.astimezone(UTC).date(), time.fromisoformat(daily), UTC)
    return at if at > moment else at + timedelta(days=1)
