"""The state machine of tests/consumer/test_model.py: all that may befall writers, a broker and files."""

import contextlib
import itertools
from typing import Any

import redis
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from consumer.group.dead_letters import dead_letters, drop, requeue
from shared.broker.entry import encode_entry
from shared.candle import Series
from shared.interval import DAY_MS, HOUR_MS, MINUTE_MS, Interval
from shared.market import Market
from shared.series_fact import FactKind, SeriesFact
from tests.support.books import TAG
from tests.support.candles import JUNE_30, make_candle
from tests.support.interruption import cut_off, killed, overtaken, refused
from tests.support.scene import OPERATIONS, WRITERS, Scene

SERIES = (
    Series(Market.USDT_FUTURES, "BTCUSDT", Interval.M1),  # a file a day
    Series(Market.USDT_FUTURES, "BTCUSDT", Interval.S1),  # a file an hour
    Series(Market.SPOT, "BTCUSDT", Interval.M1),
    Series(Market.SPOT, "ETHUSDT", Interval.H1),  # a file a month
    Series(Market.COIN_FUTURES, "BTCUSD_PERP", Interval.MONTH),  # a file a year
)


CONTRADICTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"trade_num": 419, "volume": "1.000"},
    {"volume": "17.000"},
    {"close": "61624.80"},
    {"trade_num": 7, "volume": "99.500"},
    {"volume": "16.71"},  # no contradiction, only spelled otherwise
)


MALFORMED: tuple[dict[str, Any], ...] = (
    {"volume": "-1"},
    {"open_time_ms": JUNE_30 + 1},
    {"symbol": "../BTCUSDT"},
    {"interval": "7m"},
    {"close": b"\xff"},
    {"note": "rumour"},
    {"note": "absent", "from_ms": 5, "to_ms": 5, "noted_ms": 5, "reason": ""},
)


CLOCK_STEPS = (MINUTE_MS, HOUR_MS, DAY_MS, 31 * DAY_MS, -MINUTE_MS, -DAY_MS)


Arrivals = list[tuple[Series, str]]
series = st.sampled_from(SERIES)
markets = st.sampled_from((Market.USDT_FUTURES, Market.SPOT))
places = st.integers(0, WRITERS - 1)
operations = st.sampled_from(sorted(OPERATIONS))
points = st.integers(0, 20)
arrivals = st.lists(
    st.tuples(series, st.sampled_from(("candle", "contradiction", "note", "malformed"))), min_size=1, max_size=4
)


class Recording(Scene):
    """All that may befall what is recorded."""

    # What comes in

    @rule(series=series, count=st.integers(1, 6))
    def candles_close(self, series: Series, count: int) -> None:
        """One after the other, in order, and the clock goes on with them."""
        for _ in range(count):
            self.books.publish(make_candle(series, series.interval.floor(self.now)))
            self.now = series.interval.end(series.interval.floor(self.now))

    @rule(
        series=series,
        klines=st.lists(st.tuples(st.integers(-6, 3), st.sampled_from(CONTRADICTIONS)), min_size=1, max_size=6),
    )
    def candles_come_in_disorder(self, series: Series, klines: list[tuple[int, dict[str, Any]]]) -> None:
        for offset, changes in klines:
            open_time_ms = series.interval.floor(self.now + offset * series.interval.typical_ms)
            self.books.publish(make_candle(series, open_time_ms, **changes))

    @rule(
        series=series,
        kind=st.sampled_from(FactKind),
        offset=st.integers(-5, 5),
        length=st.integers(1, 3),
        is_noted=st.booleans(),
    )
    def a_note_comes(self, series: Series, kind: FactKind, offset: int, length: int, is_noted: bool) -> None:
        begin = series.interval.floor(self.now + offset * series.interval.typical_ms)
        end = begin + length * series.interval.typical_ms if kind.is_range else begin
        noted = 0 if kind is FactKind.BEGAN and not is_noted else self.now
        reason = "its status is BREAK" if kind is FactKind.ENDED else ""
        self.books.publish(SeriesFact(series, kind, begin, end, noted, reason))

    @rule(market=markets, changes=st.sampled_from(MALFORMED))
    def a_malformed_entry_comes(self, market: Market, changes: dict[str, Any]) -> None:
        candle = make_candle(Series(market, "BTCUSDT", Interval.M1), Interval.M1.floor(self.now))
        self.books.publish_malformed(market, encode_entry(candle) | changes)

    def _come(self, arrivals: Arrivals) -> None:
        """What there is to do for a writer that is interrupted."""
        for series, kind in arrivals:
            match kind:
                case "candle":
                    self.candles_close(series, 1)
                case "contradiction":
                    self.candles_come_in_disorder(series, [(-1, CONTRADICTIONS[1])])
                case "note":
                    self.a_note_comes(series, FactKind.ABSENT, 0, 1, is_noted=True)
                case "malformed":
                    self.a_malformed_entry_comes(series.market, MALFORMED[0])

    @rule(step_ms=st.sampled_from(CLOCK_STEPS))
    def the_exchange_clock_steps(self, step_ms: int) -> None:
        self.now += step_ms

    # What writers do, undisturbed or not

    @rule(place=places, operation=operations, seconds=st.sampled_from((0.0, 1.0, 100.0)))
    def a_writer_works(self, place: int, operation: str, seconds: float) -> None:
        self.clock.sleep(seconds)
        self._work(place, operation)

    @rule(arrivals=arrivals, place=places, operation=operations, point=points)
    def a_writer_is_killed(self, arrivals: Arrivals, place: int, operation: str, point: int) -> None:
        self._come(arrivals)
        self._writer(place)
        killed(point, lambda: self._work(place, operation))
        self._bury(place)

    @rule(arrivals=arrivals, place=places, operation=operations, point=st.integers(0, 8))
    def a_writer_is_cut_off(self, arrivals: Arrivals, place: int, operation: str, point: int) -> None:
        self._come(arrivals)
        self._writer(place)
        cut_off(point, lambda: self._work(place, operation))

    @rule(arrivals=arrivals, place=places, operation=operations, point=st.integers(0, 8), is_made=st.booleans())
    def a_request_to_the_store_fails(
        self, arrivals: Arrivals, place: int, operation: str, point: int, is_made: bool
    ) -> None:
        """Before it is made, or when its answer is on the way; a folder's writer makes none."""
        self._come(arrivals)
        self._writer(place)
        refused(point, lambda: self._work(place, operation), is_made=is_made)

    @rule(arrivals=arrivals, place=places, operation=operations, point=points, is_joined=st.booleans())
    def a_writer_is_overtaken(
        self, arrivals: Arrivals, place: int, operation: str, point: int, is_joined: bool
    ) -> None:
        """It is stopped in the middle; more comes, others write that and what it holds, and join months; it wakes."""

        def others() -> None:
            self._come(arrivals)
            self._work((place + 1) % WRITERS, "take over")
            for series in SERIES[:3] if is_joined else ():
                self.shelf.join_months(series)

        self._come(arrivals)
        self._writer(place)
        overtaken(point, lambda: self._work(place, operation), others)

    @rule(place=places)
    def a_writer_wakes_when_others_have_written_what_it_read(self, place: int) -> None:
        self._work(place, "read")
        self._work((place + 1) % WRITERS, "take over")
        self._work(place, "flush")

    # What happens around them

    @rule(series=st.sampled_from(SERIES[:3]), point=st.none() | points)
    def a_month_is_joined(self, series: Series, point: int | None) -> None:
        if point is None:
            self.shelf.join_months(series)
        else:
            killed(point, lambda: self.shelf.join_months(series))

    @rule(series=series)
    def a_series_is_locked_or_unlocked(self, series: Series) -> None:
        """By a process that was stopped in the middle of a flush."""
        self.shelf.lock_or_unlock(series)

    @rule(market=markets, is_put_back=st.booleans())
    def a_dead_letter_is_decided(self, market: Market, is_put_back: bool) -> None:
        for letter in itertools.islice(dead_letters(self.client, self.keys, market), 1):
            if is_put_back:
                assert requeue(self.client, self.keys, letter)
                self.books.requeued(market, letter.fields[TAG])
            else:
                assert drop(self.client, self.keys, letter)
                self.books.dropped(letter.fields[TAG])

    @rule(market=markets, operation=st.sampled_from(("delete entries", "delete stream", "destroy group")))
    def somebody_has_a_hand_in_the_broker(self, market: Market, operation: str) -> None:
        """Nothing is deleted that was not written: that would be a loss by order."""
        stream = self.keys.candles(market)
        match operation:
            case "delete entries":
                for number in self.books.deletable(market)[:3]:
                    self.client.xdel(stream, number)
            case "delete stream":
                self.books.delete_stream(market)
            case "destroy group":
                self.books.group_will_be_made_again(market)
                with contextlib.suppress(redis.ResponseError):  # a stream that was deleted
                    self.client.xgroup_destroy(stream, self.settings.writer.group)

    @precondition(lambda self: not self.restarts)
    @rule()
    def the_broker_is_killed_and_comes_back(self) -> None:
        self.restarts += 1
        self.server.kill()
        self.server.start()
