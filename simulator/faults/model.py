"""Everything that may go wrong at the exchange on purpose: how often, and the dice that decide.

Each fault is one number, and 0 is off. Those of connections and listings are mean times between two events in real
seconds; those of frames, calls and klines are probabilities. The dice are seeded: the same questions in the same order
have the same answers. Every fault that happened is counted under its name.
"""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import SettingsError
from simulator.market.holes import MOST_HOLES

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
        foreign: chance that after a kline frame comes a closing one of a symbol that nobody subscribed to.
        future: chance that after a kline frame comes a closing one of more than a year later, by its own times.
        wrong_time: chance that a frame's ``E`` is wrong by up to ``wrong_time_seconds`` either way.
        rest_429: chance that a call is answered 429 and its pool is closed for ``rest_ban_seconds``.
        rest_418: the same with 418.
        rest_5xx: chance that a call is answered 500, 502 or 503.
        rest_timeout: chance that a call is not answered for 30 real seconds.
        rest_slow: chance that a call is answered late, by up to ``rest_slow_seconds``.
        rest_garbage: chance that a call is answered 200 with half a JSON text or an HTML page.
        rest_refused: chance that a call is answered 451 or 403.
        rest_odd_row: chance that a klines answer holds a row more, which opens 14.789 s off the grid.
        connect_refused: chance that a connection attempt is answered 451 or 403.
        listing_refused: chance that REST refuses a new symbol's klines (-1122) for its first minutes, up to
            ``listing_refused_seconds`` of the exchange's time.
        listing_early: chance that a new symbol is shown, with another status, for some time before it trades.
        listing_wrong_date: chance that a new symbol's ``onboardDate`` is wrong by up to 90 days either way, or missing.
        holes: the part of all synthetic klines that the exchange never had; decided by the seed alone.
        listing: mean time until a new symbol is listed.
        delisting: mean time until a listed symbol is delisted; each market keeps its last one.
        late_close_seconds: most lateness of a closing frame, in seconds of the exchange's time.
        wrong_time_seconds: most error of ``E``.
        rest_ban_seconds: how long 429 and 418 close a pool, in real seconds.
        rest_slow_seconds: most lateness of an answer, in real seconds.
        listing_refused_seconds: for how long klines are refused, and a symbol is shown before it trades, at most.
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
    foreign: Chance = 0.0
    future: Chance = 0.0
    wrong_time: Chance = 0.0
    rest_429: Chance = 0.0
    rest_418: Chance = 0.0
    rest_5xx: Chance = 0.0
    rest_timeout: Chance = 0.0
    rest_slow: Chance = 0.0
    rest_garbage: Chance = 0.0
    rest_refused: Chance = 0.0
    rest_odd_row: Chance = 0.0
    connect_refused: Chance = 0.0
    listing_refused: Chance = 0.0
    listing_early: Chance = 0.0
    listing_wrong_date: Chance = 0.0
    holes: Holes = 0.0
    listing: Mean = 0.0
    delisting: Mean = 0.0
    late_close_seconds: Seconds = 30.0
    wrong_time_seconds: Seconds = 5.0
    rest_ban_seconds: Seconds = 2.0
    rest_slow_seconds: Seconds = 1.0
    listing_refused_seconds: Seconds = 300.0

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
    "foreign": 0.002,
    "future": 0.002,
    "wrong_time": 0.02,
    "rest_429": 0.01,
    "rest_418": 0.005,
    "rest_5xx": 0.05,
    "rest_timeout": 0.01,
    "rest_slow": 0.1,
    "rest_garbage": 0.02,
    "rest_refused": 0.02,
    "rest_odd_row": 0.02,
    "connect_refused": 0.05,
    "listing_refused": 0.5,
    "listing_early": 0.3,
    "listing_wrong_date": 0.5,
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
