"""Following: what was recorded from a time on, then every candle as it is published; by name it goes on where it was.

Order: of a series ascending, but for *late* candles, which fill a hole and come when they are repaired. Across series
history comes in the order of close times, live candles as they were published. Each candle comes once; of two different
ones under one key the first that was published. What is not promised: that a handler has done its work. After a crash
candles of the last batch come again by name, marked ``again``.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self

from candlewick.recording.delivered import Arrived
from candlewick.recording.feed import Feed
from candlewick.recording.follower_state import FollowerState
from consumer.storage.table import VALUE_COLUMNS
from shared.interval import utc


@dataclass(frozen=True, slots=True)
class FollowedCandle:
    """A closed candle, as it is handed over: names and columns as in the files, times in UTC.

    Attributes:
        late: a newer candle of its series was handed over before: it was missing, and has been repaired.
        again: it may have been handed over before, by a follower of the same name that ended before it could say so.
    """

    market: str
    symbol: str
    interval: str
    candle_begin_time: datetime
    candle_end_time: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float
    trade_num: float
    taker_buy_base_asset_volume: float
    taker_buy_quote_asset_volume: float
    late: bool = False
    again: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Every attribute by its name."""
        return asdict(self)


def followed(arrived: Arrived, *, again: bool = False) -> FollowedCandle:
    """An arrived candle as a user has it."""
    series, times = arrived.series, (utc(arrived.open_time_ms), utc(arrived.end_time_ms))
    values: dict[str, Any] = dict(zip(VALUE_COLUMNS, arrived.values, strict=True))
    values |= {"late": arrived.is_late, "again": again}
    return FollowedCandle(str(series.market), series.symbol, str(series.interval), *times, **values)


class Follow:
    """An endless iterator of ``FollowedCandle``, plain or asynchronous; ``close`` ends it.

    A candle counts as handed over when the next one is asked for.
    """

    def __init__(self, feed: Feed, state: FollowerState | None) -> None:
        self.state = state
        self._feed = feed
        self._batches = feed.batches()
        self._candles = self._each()

    def __iter__(self) -> Iterator[FollowedCandle]:
        return self._candles

    def __next__(self) -> FollowedCandle:
        return next(self._candles)

    async def __aiter__(self) -> AsyncIterator[FollowedCandle]:
        try:
            while (candle := await asyncio.to_thread(next, self._candles, None)) is not None:
                yield candle
        finally:
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End: the iterator is over within half a second, from whatever thread this is called."""
        self._feed.stop()
        if self.state is not None:
            self.state.stop()

    def in_batches(
        self,
        deliver: Callable[[Sequence[FollowedCandle]], int | None],
        *,
        count: int | None = None,
        at_once: int | None = None,
    ) -> None:
        """Hand over batch by batch, up to ``at_once`` candles each, for ever or until ``count`` have been.

        ``deliver`` returns how long the output file is with the batch in it, or None; then the batch counts.
        """
        for batch in self._batches:
            for first in range(0, len(batch.candles), at_once or max(1, len(batch.candles))):
                last = first + (at_once or len(batch.candles))
                arrived = batch.candles[first : last if count is None else min(last, first + count)]
                length = deliver(self._hand_over(arrived))
                if self.state is not None:
                    self.state.confirm(length)
                if count is not None:
                    count -= len(arrived)
                    if count == 0:
                        return

    def _each(self) -> Iterator[FollowedCandle]:
        for batch in self._batches:
            yield from self._hand_over(batch.candles)
            if self.state is not None and batch.candles:
                self.state.confirm()

    def _hand_over(self, batch: Sequence[Arrived]) -> list[FollowedCandle]:
        """A batch as its candles, once the state says that they are on their way."""
        if self.state is None:
            return [followed(arrived) for arrived in batch]
        if batch:
            self.state.hand_over(batch)
        known = self.state.handing
        return [followed(arrived, again=(arrived.series, arrived.open_time_ms) in known) for arrived in batch]
