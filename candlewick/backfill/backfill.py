"""``candlewick backfill``: history of any number of series, fetched straight into the store, beside a running writer.

The exchange's time tells what is closed. Where the exchange cannot be asked, this host's clock takes its place, and
only what an archive has is fetched. A few series are filled at a time (``candlewick.backfill.filling``). A series that
fails gets a line that says why, and holds up no other.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from candlewick.backfill.archives import Archive, open_archive
from candlewick.backfill.filling import Display, Filled, Filling, Tools
from candlewick.backfill.patient_rest import PatientRest
from candlewick.backfill.progress_display import QUIET, progress_display
from candlewick.parallel.over_workers import over_workers
from consumer.storage.candle_store import CandleStore
from consumer.storage.durable import Staging
from consumer.storage.interface import Storage
from consumer.storage.kinds import open_storage
from consumer.storage.sources import SourceStore
from shared.candle import Series
from shared.errors import RestUnavailableError, SettingsError, StoreError
from shared.interval import Interval, utc
from shared.market import Market
from shared.settings.model import Settings
from shared.spans import Span
from shared.text import counted

_SERIES_AT_ONCE = 4
_LOCK_SECONDS = 60.0  # a writer that is flushing thousands of series lets go of ours in less
_CACHE_BYTES = 2**24
_SPANS_NAMED = 10


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be fetched.

    Attributes:
        series: all of one market.
        from_ms: first time that is wanted.
        to_ms: time to stop before; None for all that has closed.
        archive: address or folder of the archive; None for REST alone.
        unverified: whether archive files without a checksum are taken.
    """

    series: Sequence[Series]
    from_ms: int
    to_ms: int | None = None
    archive: str | None = None
    unverified: bool = False


def make_order(
    settings: Settings,
    market: Market,
    symbols: Sequence[str],
    intervals: Sequence[Interval],
    from_ms: int,
    to_ms: int | None,
    archive: str | None,
    *,
    unverified: bool,
) -> Order:
    """An order that can be carried out. SettingsError names what cannot be."""
    for interval in intervals:
        if interval not in settings.intervals(market):
            raise SettingsError(f"interval {interval} is spot's alone, {market} does not have it")
    if to_ms is not None and to_ms <= from_ms:
        raise SettingsError(f"--to {_time(to_ms)} is not after --from {_time(from_ms)}")
    if unverified and archive is None:
        raise SettingsError("--unverified is about archive files: name their place with --archive")
    series = dict.fromkeys(Series(market, symbol, interval) for symbol in symbols for interval in intervals)
    return Order(tuple(series), from_ms, to_ms, archive, unverified)


def backfill(settings: Settings, order: Order, workers: int | None = None, dask: str | None = None) -> int:
    """Fetch what is missing, and print a line a series. CandlewickError when the order cannot be carried out as it is.

    With ``workers``, or a scheduler's address, several processes share the series (``candlewick.parallel``). The exit
    code is 0 when every candle of the spans is stored, absent, or was never to be had; else 1.
    """
    if workers is None and dask is None:
        with progress_display(sys.stderr) as display:
            results = fill(settings, order, display)
    else:
        results = _fill_over_workers(settings, order, workers, dask)
    for result in results:
        print(summary(result) if isinstance(result, Filled) else result)
    for result in results:
        if isinstance(result, Filled) and result.missing:
            print(f"candlewick: {_missing(result)}", file=sys.stderr)
    return 1 if any(isinstance(result, str) or result.missing for result in results) else 0


def fill(settings: Settings, order: Order, display: Display = QUIET) -> list[Filled | str]:
    """Fill every series of an order, in this process; in place of one that failed, the reason."""
    archive = None
    if order.archive is not None:
        archive = open_archive(order.archive, settings.exchange, unverified=order.unverified)
    with candle_store(settings) as candles:
        return asyncio.run(_fill_all(settings, order, candles, archive, display))


def _fill_over_workers(settings: Settings, order: Order, workers: int | None, dask: str | None) -> list[Filled | str]:
    """``fill`` by several processes, a few series at a time; what is done twice changes nothing."""
    orders = [
        replace(order, series=order.series[at : at + _SERIES_AT_ONCE])
        for at in range(0, len(order.series), _SERIES_AT_ONCE)
    ]
    found: dict[Series, Filled | str] = {}
    for part, results in over_workers(fill, settings, orders, workers=workers, address=dask):
        found |= dict(zip(part.series, results, strict=True))
    return [found[series] for series in order.series]


def fill_gaps(settings: Settings, gaps: Mapping[Series, Sequence[Span]]) -> list[Filled | str]:
    """Fetch over REST what is missing or absent of some series in these spans; the reason, where one failed."""
    found: list[Filled | str] = []
    with candle_store(settings) as candles, progress_display(sys.stderr) as display:
        for series, span in ((series, span) for series, spans in gaps.items() for span in spans):
            order = Order((series,), span.begin_ms, span.end_ms)
            found += asyncio.run(_fill_all(settings, order, candles, None, display))
    return found


def check_source(settings: Settings, storage: Storage, market: Market) -> None:
    """Whether candles of the settings' exchange may go into a store. SourceError when it has those of another one."""
    exchange = settings.exchange
    SourceStore(storage).check(market, [exchange.source(market)], mix=exchange.mix_sources)


def note_source(settings: Settings, candles: CandleStore, market: Market) -> None:
    """Write down whose candles are about to be stored. SourceError when they may not be, by now."""
    check_source(settings, candles.storage, market)
    SourceStore(candles.storage).add(market, [settings.exchange.source(market)])


@contextlib.contextmanager
def candle_store(settings: Settings) -> Iterator[CandleStore]:
    """The settings' store, for a command that writes beside a running writer."""
    staging = Staging(settings.staging_folder)
    try:
        yield CandleStore(open_storage(settings, staging, _LOCK_SECONDS), _CACHE_BYTES)
    finally:
        staging.close()


async def _fill_all(
    settings: Settings, order: Order, candles: CandleStore, archive: Archive | None, display: Display
) -> list[Filled | str]:
    """Fill every series; in place of one that failed, the reason."""
    market = order.series[0].market
    check_source(settings, candles.storage, market)
    rest = PatientRest(market, settings)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(rest.close)
        if archive is not None:
            stack.push_async_callback(archive.close)
        try:
            now_ms = await rest.time_ms()
        except RestUnavailableError:
            now_ms = time.time_ns() // 1_000_000
        rest.set_time(now_ms)
        if order.from_ms >= now_ms:
            raise SettingsError(f"--from {_time(order.from_ms)} is in the future: now it is {_time(now_ms)}")
        tools = Tools(candles, rest, archive, now_ms, asyncio.Lock(), display, partial(note_source, settings, candles))
        gate = asyncio.Semaphore(_SERIES_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_fill(tools, gate, order, series)) for series in order.series]
    return [task.result() for task in tasks]


async def _fill(tools: Tools, gate: asyncio.Semaphore, order: Order, series: Series) -> Filled | str:
    """Fill one series; the reason, when its files refuse."""
    to_ms = order.to_ms
    if to_ms is None and tools.rest.trouble is not None and tools.archive is not None:
        to_ms = tools.archive.end_ms(series)
    span = Span(order.from_ms, tools.now_ms if to_ms is None else to_ms)
    async with gate:
        try:
            return await Filling(tools, series, span).run()
        except (StoreError, OSError) as error:
            tools.display.tell(str(error))
            return f"{series} cannot be filled: {error}"


def summary(filled: Filled) -> str:
    """One line about what became of a series."""
    begin, end = map(_time, filled.wanted)
    parts = ", ".join(f"{rows:,} from {source}" for source, rows in filled.fetched.items())
    rows = counted(sum(filled.fetched.values()), "row") + " fetched" + (f" ({parts})" if parts else "")
    absent = _candles(filled, filled.absent)
    return (
        f"{filled.series} from {begin} to {end}: {rows}, {filled.there:,} already there, "
        f"{counted(filled.files, 'file write')}, {absent:,} absent"
    )


def _missing(filled: Filled) -> str:
    """One line about what could not be had."""
    named = [f"{_time(begin)} to {_time(end)}" for begin, end in filled.missing[:_SPANS_NAMED]]
    more = len(filled.missing) - len(named)
    spans = ", ".join(named) + (f" and {counted(more, 'more span')}" if more > 0 else "")
    candles = counted(_candles(filled, filled.missing), "candle")
    return f"{filled.series}: {candles} still missing, {spans}" + (f"; {filled.reason}" if filled.reason else "")


def _time(time_ms: int) -> str:
    """A time as --from and --to take it."""
    return f"{utc(time_ms):%Y-%m-%dT%H:%M:%SZ}"


def _candles(filled: Filled, spans: Sequence[Span]) -> int:
    return sum(filled.series.interval.candles(*span) for span in spans)
