"""History, then live, without a seam: every candle of a selection once, in batches, for followers and cross-sections.

    CATCHING UP ──(all that is published up to a position has been read)──▶ LIVE ──(the position is lost)──▶ CATCHING UP

To catch up, the stream's newest id is noted first. Then everything that the account of what was delivered lacks is
read, stream and store joined: holes that were filled meanwhile, series by series, then what is new, in the order of
close times. From the noted id on the stream itself is read, as it is published. What comes both ways is in the account
already, and is not delivered again. When the position is lost (``candlewick.recording.position``) the account says what
to read once more, so nothing is lost. A start and a return after days are the same thing.

Reading is without a consumer group: nobody waits for a reader, however slow it is.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from redis.exceptions import RedisError

from candlewick.recording.delivered import Arrived, Delivered
from candlewick.recording.in_order import in_order
from candlewick.recording.joined import JoinedReader
from candlewick.recording.position import Position
from candlewick.recording.query import Selection
from consumer.dataset.dataset import ALWAYS_MS
from consumer.storage.metadata import SeriesMetadata
from consumer.storage.table import VALUE_COLUMNS
from shared.broker.address import broker_name
from shared.broker.client import CONNECTION_ERRORS, fatal_answer, sync_client
from shared.broker.entry import decode_entry
from shared.broker.keys import Keys
from shared.candle import Candle, Series
from shared.errors import MalformedCandleError
from shared.market import Market
from shared.process.backoff import backoff
from shared.process.once import SayOnce
from shared.series_fact import SeriesFact
from shared.settings.model import Settings
from shared.spans import Span, Spans

log = logging.getLogger(__name__)

_MAX_BATCH = 2000
_values_of = attrgetter(*VALUE_COLUMNS)


class Batch(NamedTuple):
    """What came together.

    Attributes:
        candles: in the order in which they are delivered.
        facts: about series of the selection; live ones only.
        clock: the exchange's time of the newest candle in it, and the local one when it was received, in UTC ms; None
            while catching up.
        caught_up_ms: while catching up: everything that ends by then and is there has been in a batch; None: live.
        metadata: of the selection's series, with the first batch of each catching up.
        is_drained: whether nothing else was in the stream when it was read.
    """

    candles: list[Arrived]
    facts: list[SeriesFact]
    clock: tuple[int, int] | None = None
    caught_up_ms: int | None = None
    metadata: Mapping[Series, SeriesMetadata] | None = None
    is_drained: bool = True


class Feed:
    """One selection of one market, read by one thread.

    Args:
        settings: where the broker is.
        market: whose stream is read.
        selection: the series, those that are not recorded yet included.
        delivered: the account, which every candle is put into before it is in a batch.
        join: what reads stream and store joined, as of now.
    """

    def __init__(
        self,
        settings: Settings,
        market: Market,
        selection: Selection,
        delivered: Delivered,
        join: Callable[[], JoinedReader],
    ) -> None:
        self._settings = settings
        self._market = market
        self._selection = selection
        self._delivered = delivered
        self._join = join
        self._client: Any = sync_client(settings)
        self._position = Position(self._client, Keys(settings.broker.prefix).candles(market))
        self._stop = threading.Event()
        self._warn = SayOnce(log.warning)

    def stop(self) -> None:
        """Let ``batches`` end within half a second; from any thread."""
        self._stop.set()

    def batches(self) -> Iterator[Batch]:
        """Batches for ever; an empty one at least every second, so that whoever waits may look at a clock.

        A broker that is away is waited for. BrokerError when it refuses for good, StoreError when a file is damaged.
        """
        pauses = backoff()
        is_live = False
        try:
            while not self._stop.is_set():
                try:
                    if not is_live:
                        yield from self._catch_up()
                        is_live = True
                    batch = self._read()
                    is_live = batch is not None
                    if batch is not None:
                        yield batch
                    pauses = backoff()
                except (RedisError, *CONNECTION_ERRORS) as error:
                    fatal = fatal_answer(error, self._settings)
                    if fatal is not None:
                        raise fatal from error
                    self._warn("%s does not answer, waiting for it: %s", broker_name(self._settings), error)
                    self._stop.wait(next(pauses))
                    yield Batch([], [], caught_up_ms=None if is_live else 0)
        finally:
            self._client.close()

    def _catch_up(self) -> Iterator[Batch]:
        self._position.to_newest()
        reader = self._join()
        metadata = {one: reader.metadata(one) for one in reader.series() if one in self._selection}
        yield Batch([], [], caught_up_ms=0, metadata=metadata)
        wanted = dict[Series, Span]()
        for one, known in metadata.items():
            *holes, wanted[one] = self._delivered.wanted(one, ALWAYS_MS)
            yield from self._filled(reader, one, holes, known.absent)
        for part in in_order(reader, wanted):
            arrived = list[Arrived]()
            for one, open_ms, end_ms, values in part.candles():
                self._take(one, open_ms, end_ms, values, arrived)
                if len(arrived) == _MAX_BATCH:
                    yield Batch(arrived, [], caught_up_ms=end_ms - 1)
                    arrived = []
                    if self._stop.is_set():
                        return
            yield Batch(arrived, [], caught_up_ms=part.until_ms)

    def _filled(self, reader: JoinedReader, series: Series, holes: Iterable[Span], absent: Spans) -> Iterator[Batch]:
        """What has come of holes: repaired while nobody followed. What the exchange does not have is not looked for."""
        asked, arrived = Spans(holes), list[Arrived]()
        for span in absent if asked else ():
            asked.remove(*span)
        for hole in asked:
            for rows in reader.parts(series, *hole) if reader.has_any(series, *hole) else ():
                for open_ms, values in zip(rows.times.tolist(), rows.values.T.tolist(), strict=True):
                    self._take(series, open_ms, series.interval.end(open_ms), values, arrived)
                    if len(arrived) == _MAX_BATCH:
                        yield Batch(arrived, [], caught_up_ms=0)
                        arrived = []
        if arrived:
            yield Batch(arrived, [], caught_up_ms=0)

    def _read(self) -> Batch | None:
        """What has been published since; None when the position is lost."""
        entries = self._position.read()
        if entries is None:
            return None
        batch = Batch([], [])
        clock: tuple[int, int] | None = None
        for _, fields in entries:
            try:
                item = decode_entry(self._market, fields)
            except MalformedCandleError:  # a writer makes a dead letter of it
                continue
            if isinstance(item, Candle):
                clock = max(clock or (0, 0), (item.event_time_ms, item.receive_time_ms))
            if item.series not in self._selection:
                continue
            if isinstance(item, SeriesFact):
                batch.facts.append(item)
            else:
                self._take(item.series, item.open_time_ms, item.end_time_ms, _values_of(item), batch.candles)
        return batch._replace(clock=clock, is_drained=self._position.is_drained)

    def _take(
        self, series: Series, open_ms: int, end_ms: int, values: Sequence[float | str], arrived: list[Arrived]
    ) -> None:
        """Account for a candle, and add it to what has arrived unless it came before."""
        is_late = self._delivered.take(series, open_ms, end_ms)
        if is_late is not None:
            arrived.append(Arrived(series, open_ms, end_ms, tuple(map(float, values)), is_late))
