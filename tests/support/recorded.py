"""What a producer publishes and a writer stores, step by step as a test wants it."""

from collections.abc import Sequence
from typing import Any

from shared.broker.entry import encode_entry
from shared.broker.keys import Keys
from shared.candle import Candle, Series
from shared.market import Market
from shared.series_fact import FactKind, SeriesFact
from shared.settings.model import Settings
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle
from tests.support.stores import DataFolder

GROUP = "writers"


class Recorded:
    """A data folder and a broker's streams.

    ``publish`` is what a producer does; ``store`` what a writer does with everything that is unread.
    """

    def __init__(self, settings: Settings, client: Any, keys: Keys) -> None:
        self.settings = settings
        self.folder = DataFolder(settings.data.folder)
        self._client = client
        self._keys = keys

    def publish(self, items: Sequence[Candle | SeriesFact]) -> None:
        for item in items:
            self._client.xadd(self._keys.candles(item.series.market), encode_entry(item))

    def store(self, items: Sequence[Candle | SeriesFact]) -> None:
        """Store without a broker: what has been stored for long."""
        by_series: dict[Series, list[Candle]] = {}
        for item in items:
            if isinstance(item, Candle):
                by_series.setdefault(item.series, []).append(item)
            else:
                self.folder.metadata.write(item.series, [item])
        for series, candles in by_series.items():
            self.folder.write(series, candles)

    def read_group(self, market: Market = Market.USDT_FUTURES) -> list[bytes]:
        """Read as a writer does; what is read is pending until it is acknowledged."""
        stream = self._keys.candles(market)
        if not self._client.exists(stream) or not self._client.xinfo_groups(stream):
            self._client.xgroup_create(stream, GROUP, id="0", mkstream=True)
        answer = self._client.xreadgroup(GROUP, "test", {stream: ">"})
        return [number for number, _ in answer[0][1]] if answer else []

    def acknowledge(self, ids: Sequence[bytes], market: Market = Market.USDT_FUTURES) -> None:
        self._client.xack(self._keys.candles(market), GROUP, *ids)

    def trim_to_the_last(self, market: Market = Market.USDT_FUTURES) -> None:
        """Only the newest entry stays in the stream."""
        self._client.xtrim(self._keys.candles(market), maxlen=1, approximate=False)

    def say_source(self, source: str, market: Market = Market.USDT_FUTURES) -> None:
        """The broker's candles are this exchange's."""
        self._client.set(self._keys.sources(market), source)

    def unread(self, market: Market = Market.USDT_FUTURES) -> int:
        """Entries that the group has not been given."""
        stream = self._keys.candles(market)
        (group,) = self._client.xinfo_groups(stream)
        return len(self._client.xrange(stream, min=f"({group['last-delivered-id'].decode()}"))

    def pending(self, market: Market = Market.USDT_FUTURES) -> int:
        """Entries that are read and not acknowledged."""
        return int(self._client.xpending(self._keys.candles(market), GROUP)["pending"])

    def empty_broker(self) -> None:
        for market in Market:
            self._client.delete(self._keys.candles(market))

    def close(self) -> None:
        self.folder.close()


def minutes(count: int, first: int = 0, series: Series = BTC, **changes: Any) -> list[Candle]:
    """Candles that follow one another, each with a price of its own."""
    return [
        make_candle(series, JUNE_30 + at * MINUTE, close=f"{61606 + at % 10}.5", **changes)
        for at in range(first, first + count)
    ]


def began(series: Series = BTC, at: int = 0) -> SeriesFact:
    """Recording of a series began."""
    return SeriesFact(series, FactKind.BEGAN, JUNE_30 + at * MINUTE, JUNE_30 + at * MINUTE, JUNE_30 + at * MINUTE + 1)


def absent(first: int, count: int = 1, series: Series = BTC) -> SeriesFact:
    """The exchange does not have some minutes."""
    begin = JUNE_30 + first * MINUTE
    return SeriesFact(series, FactKind.ABSENT, begin, begin + count * MINUTE, begin + 10 * MINUTE)
