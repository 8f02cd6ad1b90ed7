"""What the fuzzer begins with: messages, entries, REST bodies and archive files as they are when nothing is wrong.

All of them come out of the simulated exchange's own builders and the product's own encoder, so that a mutation is a
small step away from what is taken every day.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from candlewick.backfill.archive_format import ArchiveFile
from producers.exchange.channels import channel
from producers.exchange.rest import candle_of_row
from shared.broker.entry import encode_entry
from shared.candle import Series
from shared.interval import DAY_MS, Interval
from shared.market import Market
from shared.series_fact import FactKind, SeriesFact
from simulator.market.frames import enveloped, exchange_info, kline_event, rest_row, shutdown_event, symbol_info
from simulator.market.klines import Kline, SyntheticSource, so_far

NOW_MS = 1_719_705_600_000
"""2024-06-30 00:00 UTC, a Sunday: candles of every interval are made around it."""

SYMBOLS = {
    Market.SPOT: ("BTCUSDT", "币安人生USDT"),
    Market.USDT_FUTURES: ("BTCUSDT", "ETHUSDT_240927"),
    Market.COIN_FUTURES: ("BTCUSD_PERP",),
}

Fields = dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Corpora:
    """Inputs by what they are fed to.

    Attributes:
        frames: WebSocket messages: klines open and closed of every market and interval, events, answers.
        entries: stream entries, candles and notes.
        bodies: bodies of REST answers by the question: klines, the first kline, the time, exchangeInfo.
        archives: archive files, each with what it is said to be.
    """

    frames: Sequence[bytes]
    entries: Sequence[tuple[Market, Fields]]
    bodies: Mapping[str, Sequence[bytes]]
    archives: Sequence[tuple[ArchiveFile, bytes]]


def corpora(seed: int) -> Corpora:
    """The corpora whose prices come from a seed."""
    source = SyntheticSource(seed, SYMBOLS)
    series = [
        Series(market, symbol, interval) for market in Market for symbol in SYMBOLS[market] for interval in Interval
    ]
    return Corpora(
        [*(frame for key in series for frame in _kline_frames(source, key)), *_other_frames()],
        [(key.market, fields_of(entry)) for key in series for entry in _entries(source, key)],
        _bodies(source, series),
        [archive_of(source, Series(market, SYMBOLS[market][0], Interval.M1)) for market in Market],
    )


def _kline(source: SyntheticSource, series: Series, open_ms: int) -> Kline:
    kline = source.kline(series, open_ms)
    assert kline is not None  # noqa: S101 # without holes there is one at every open time
    return kline


def _kline_frames(source: SyntheticSource, series: Series) -> list[bytes]:
    open_ms = series.interval.floor(NOW_MS)
    end_ms = series.interval.end(open_ms)
    kline = _kline(source, series, open_ms)
    half = so_far(kline, (open_ms + end_ms) // 2, end_ms)
    closed = kline_event(series, kline, end_ms + 37, closed=True)
    is_open = kline_event(series, half, (open_ms + end_ms) // 2, closed=False)
    return [text.encode() for text in (enveloped(channel(series), closed), closed, enveloped(channel(series), is_open))]


def _other_frames() -> list[bytes]:
    return [
        shutdown_event(NOW_MS).encode(),
        b'{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1719705600000,"s":"BTCUSDT","p":"1.0","m":true}}',
        b'{"result":null,"id":1}',
        b'{"result":["btcusdt@kline_1m","ethusdt@kline_1m"],"id":3}',
        b'{"error":{"code":2,"msg":"Invalid request: unknown variant"},"id":4}',
        b'{"id":5,"error":"too many","result":null}',
    ]


def _entries(source: SyntheticSource, series: Series) -> list[dict[str, str | int]]:
    open_ms = series.interval.floor(NOW_MS)
    candle = candle_of_row(series, rest_row(_kline(source, series, open_ms)), series.interval.end(open_ms))
    end_ms = candle.end_time_ms
    candle = msgspec.structs.replace(
        candle, receive_time_ms=end_ms
    )  # not this machine's clock: a seed makes the same inputs again
    notes = (
        SeriesFact(series, FactKind.BEGAN, open_ms, open_ms, end_ms),
        SeriesFact(series, FactKind.ABSENT, open_ms, end_ms, end_ms, "the exchange has none"),
        SeriesFact(series, FactKind.ENDED, end_ms, end_ms, end_ms, "its status is BREAK"),
    )
    return [encode_entry(item) for item in (candle, candle, candle, *notes)]


def fields_of(entry: dict[str, str | int]) -> Fields:
    """An entry as a reader gets it back from the broker."""
    return {name.encode(): str(value).encode() for name, value in entry.items()}


def _rows(source: SyntheticSource, series: Series, count: int) -> list[Any]:
    rows, open_ms = [], series.interval.floor(NOW_MS)
    for _ in range(count):
        rows.append(rest_row(_kline(source, series, open_ms)))
        open_ms = series.interval.end(open_ms)
    return rows


def _bodies(source: SyntheticSource, series: Sequence[Series]) -> dict[str, list[bytes]]:
    klines = [orjson.dumps(_rows(source, key, 6)) for key in series]
    error = orjson.dumps({"code": -1121, "msg": "Invalid symbol."})
    return {
        "klines": [*klines, b"[]", error],
        "first": [*(orjson.dumps(_rows(source, key, 1)) for key in series), b"[]", error],
        "time": [orjson.dumps({"serverTime": NOW_MS}), error],
        "info": [*(orjson.dumps(_info(market)) for market in Market), error],
    }


def _info(market: Market) -> dict[str, Any]:
    symbols = [symbol_info(market, symbol) | {"onboardDate": NOW_MS} for symbol in SYMBOLS[market]]
    return exchange_info(market) | {"serverTime": NOW_MS, "symbols": symbols}


def archive_of(source: SyntheticSource, series: Series) -> tuple[ArchiveFile, bytes]:
    """The archive's file of one day of a series, an hour of which is in it."""
    lines = (",".join(map(str, row)) for row in _rows(source, series, 60))
    return ArchiveFile.day(series, NOW_MS - NOW_MS % DAY_MS), zipped("\n".join(lines).encode())


def zipped(*members: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these members."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        for number, content in enumerate(members):
            archive.writestr(zipfile.ZipInfo(f"{number}.csv"), content, method)
    return sink.getvalue()
