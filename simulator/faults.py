"""Everything that may go wrong at the exchange on purpose: how often, and the dice that decide.

Each fault is one number, and 0 is off. Those of connections and listings are mean times between two events in real
seconds; those of frames, calls and klines are probabilities. The dice are seeded: the same questions in the same order
have the same answers. Every fault that happened is counted under its name.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import SettingsError
from simulator.holes import MOST_HOLES

Mean = Annotated[float, Field(ge=0, allow_inf_nan=False, description="a number of real seconds, 0 for never")]
Chance = Annotated[float, Field(ge=0, le=1, description="a probability from 0 to 1")]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False, description="a number of seconds, 0 or more")]
Holes = Annotated[float, Field(ge=0, le=MOST_HOLES, description=f"a part of all klines from 0 to {MOST_HOLES}")]


class Faults(BaseModel):
    """How often each fault happens.

    Attributes:
        drop: mean time until a random connection is cut without a closing handshake.
        close: … is closed in good order, unannounced.
        shutdown: … is sent ``serverShutdown`` and closed, at once or within a second.
        silent_connection: … stays open and sends nothing more at all, not even pings and answers.
        silent_channel: … sends no more of one of its channels.
        silent_on_connect: chance that a new connection acknowledges subscriptions and never sends a kline.
        late_close: chance that a closing frame comes late, by up to ``late_close_seconds`` of the exchange's time.
        no_close: chance that a closing frame never comes.
        duplicate: chance that a kline frame is sent twice.
        out_of_order: chance that a kline frame is sent after one to three of its connection's next ones.
        corrupt: chance that a few characters of a kline frame are changed.
        truncated: chance that a kline frame ends early.
        wrong_time: chance that a frame's ``E`` is wrong by up to ``wrong_time_seconds`` either way.
        rest_429: chance that a call is answered 429 and its pool is closed for ``rest_ban_seconds``.
        rest_418: the same with 418.
        rest_5xx: chance that a call is answered 500, 502 or 503.
        rest_timeout: chance that a call is not answered for 30 real seconds.
        rest_slow: chance that a call is answered late, by up to ``rest_slow_seconds``.
        rest_garbage: chance that a call is answered 200 with half a JSON text or an HTML page.
        holes: the part of all synthetic klines that the exchange never had; decided by the seed alone.
        listing: mean time until a new symbol is listed.
        delisting: mean time until a listed symbol is delisted; each market keeps its last one.
        late_close_seconds: most lateness of a closing frame, in seconds of the exchange's time.
        wrong_time_seconds: most error of ``E``.
        rest_ban_seconds: how long 429 and 418 close a pool, in real seconds.
        rest_slow_seconds: most lateness of an answer, in real seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    drop: Mean = 0.0
    close: Mean = 0.0
    shutdown: Mean = 0.0
    silent_connection: Mean = 0.0
    silent_channel: Mean = 0.0
    silent_on_connect: Chance = 0.0
    late_close: Chance = 0.0
    no_close: Chance = 0.0
    duplicate: Chance = 0.0
    out_of_order: Chance = 0.0
    corrupt: Chance = 0.0
    truncated: Chance = 0.0
    wrong_time: Chance = 0.0
    rest_429: Chance = 0.0
    rest_418: Chance = 0.0
    rest_5xx: Chance = 0.0
    rest_timeout: Chance = 0.0
    rest_slow: Chance = 0.0
    rest_garbage: Chance = 0.0
    holes: Holes = 0.0
    listing: Mean = 0.0
    delisting: Mean = 0.0
    late_close_seconds: Seconds = 30.0
    wrong_time_seconds: Seconds = 5.0
    rest_ban_seconds: Seconds = 2.0
    rest_slow_seconds: Seconds = 1.0

    def changed(self, changes: Mapping[str, object]) -> Self:
        """The faults after a change; None restores a number's default, and ``all`` is a scale for the whole mix.

        ``all`` counts before the others, whatever the order: ``{"all": 1, "drop": 0}`` is everything but ``drop``.

        Raises:
            SettingsError: naming the fault that is unknown or has a value that is not allowed.
        """
        values: dict[str, object] = self.model_dump()
        if "all" in changes:
            values |= _scaled_mix(changes["all"])
        for name, value in changes.items():
            if name != "all":
                values[name] = _default(name) if value is None else value
        try:
            return type(self).model_validate(values)
        except ValidationError as error:
            raise SettingsError(_explained(error)) from None


MEANS = ("drop", "close", "shutdown", "silent_connection", "silent_channel", "listing", "delisting")
"""The faults that are mean times between two events."""

EVERYTHING: Mapping[str, float] = {
    "drop": 5.0,
    "close": 8.0,
    "shutdown": 10.0,
    "silent_connection": 15.0,
    "silent_channel": 15.0,
    "silent_on_connect": 0.05,
    "late_close": 0.02,
    "no_close": 0.01,
    "duplicate": 0.02,
    "out_of_order": 0.02,
    "corrupt": 0.005,
    "truncated": 0.005,
    "wrong_time": 0.02,
    "rest_429": 0.01,
    "rest_418": 0.005,
    "rest_5xx": 0.05,
    "rest_timeout": 0.01,
    "rest_slow": 0.1,
    "rest_garbage": 0.02,
    "holes": 0.005,
    "listing": 20.0,
    "delisting": 60.0,
}
"""The mix that ``all`` switches on at scale 1."""

_MOST_SCALE = 100.0


def _scaled_mix(scale: object) -> dict[str, float]:
    if scale is None:
        scale = 0
    if not isinstance(scale, int | float) or isinstance(scale, bool) or not 0 <= scale <= _MOST_SCALE:
        raise SettingsError(f"fault all is {scale!r}: allowed is a scale from 0 to {_MOST_SCALE:g}, 1 as it is meant")
    return {
        name: (value / scale if scale else 0.0) if name in MEANS else min(value * scale, 1.0)
        for name, value in EVERYTHING.items()
    }


def _default(name: str) -> object:
    known = Faults.model_fields.get(name)
    return known.default if known else None


def _explained(error: ValidationError) -> str:
    first = error.errors()[0]
    name = str(first["loc"][0])
    if name not in Faults.model_fields:
        return f"fault {name!r} is not known: {', '.join(('all', *Faults.model_fields))}"
    return f"fault {name} is {first['input']!r}: allowed is {Faults.model_fields[name].description}"


_FRAME_FAULTS = ("duplicate", "out_of_order", "corrupt", "truncated")
_MOST_CHANGED = 4
_MOST_HELD = 3
_NEVER_RIGHT = "abgjkpruyz!#$%&*/:;<=>?@[]^`{|}~\\\"',\x00\x07éж"  # in no number, symbol, interval or name of a field


class FaultDice:
    """Decides what goes wrong now, and counts it.

    Attributes:
        injected: how often each fault happened.
        frames: whether any fault of single frames is on.
    """

    def __init__(self, seed: int, faults: Faults) -> None:
        self.injected: Counter[str] = Counter()
        self.random = random.Random(seed)
        self.faults = faults

    @property
    def faults(self) -> Faults:
        """The faults in force."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        self._chances: dict[str, float] = faults.model_dump()
        self.frames = any(self._chances[name] for name in _FRAME_FAULTS)

    def hits(self, name: str) -> bool:
        """Whether the fault of this name happens now; a fault that is off draws no number."""
        chance = self._chances[name]
        if not chance or self.random.random() >= chance:
            return False
        self.injected[name] += 1
        return True

    def closing_delay_ms(self) -> int | None:
        """How much later than usual a closing frame comes, in ms of the exchange's time; None: never."""
        if self.hits("no_close"):
            return None
        return int(self.up_to(self._faults.late_close_seconds) * 1000) if self.hits("late_close") else 0

    def clock_error_ms(self) -> int:
        """How wrong the time in an event is, in ms."""
        if not self.hits("wrong_time"):
            return 0
        return int((2 * self.random.random() - 1) * self._faults.wrong_time_seconds * 1000)

    def up_to(self, seconds: float) -> float:
        """A random part of so many seconds."""
        return self.random.random() * seconds

    def corrupted(self, text: str) -> str:
        """A text with a few characters changed, in such a way that nobody can take a kline for another one.

        A digit never becomes another digit, for example: no reader could tell.
        """
        characters = list(text)
        for _ in range(self.random.randint(1, _MOST_CHANGED)):
            at = self.random.randrange(len(characters))
            characters[at] = self.random.choice(_NEVER_RIGHT.replace(characters[at], ""))
        return "".join(characters)

    def truncated(self, text: str) -> str:
        """The beginning of a text, without at least its last character."""
        return text[: self.random.randrange(len(text))]


class FrameFaults:
    """What becomes of the kline frames of one connection."""

    def __init__(self, dice: FaultDice) -> None:
        self._dice = dice
        self._held: list[tuple[int, str]] = []

    @property
    def on(self) -> bool:
        """Whether frames must pass through here: a fault is on, or a frame is still held back."""
        return self._dice.frames or bool(self._held)

    def passed(self, text: str) -> Iterable[str]:
        """What is sent when ``text`` should be: none, one or several frames."""
        dice = self._dice
        if dice.hits("corrupt"):
            text = dice.corrupted(text)
        elif dice.hits("truncated"):
            text = dice.truncated(text)
        sent = [text, text] if dice.hits("duplicate") else [text]
        released = [held for left, held in self._held if left == 0]
        self._held = [(left - 1, held) for left, held in self._held if left > 0]
        if dice.hits("out_of_order"):
            wait = dice.random.randrange(_MOST_HELD)
            self._held += [(wait, held) for held in sent]
            return released
        return [*sent, *released]
