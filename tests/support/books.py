"""What was published, and what must be true of it at any moment: the model's side of the comparison.

The books know each entry by its id. Where it is, the broker is asked: an entry is *waiting* while the stream holds it
and the group was not given it, or was and has not acknowledged it; any other entry counts as *acknowledged*, also one
that the stream does not hold any more, and stays so. What is acknowledged must be on disk. Files are read here with
plain pyarrow, and the rule of two candles under one key is written down once more, as docs/design.md states it: the
more trades, then the more volume, and so on.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import redis

from consumer.dataset.dataset import Dataset
from consumer.group.dead_letters import ENTRY_PREFIX
from consumer.storage.layout import partition_span
from consumer.storage.metadata import SeriesMetadata
from shared.broker.entry import encode_entry
from shared.broker.keys import Keys
from shared.candle import Candle, Series
from shared.market import Market
from shared.series_fact import FactKind, SeriesFact
from shared.settings.model import Settings
from shared.spans import Spans
from tests.support.shelves import Lying, Shelf

TAG = b"tag"
"""Field by which a malformed entry is known again, in the stream and among the dead letters."""

_COLUMNS = (
    "trade_num",
    "volume",
    "quote_volume",
    "taker_buy_base_asset_volume",
    "taker_buy_quote_asset_volume",
    "close",
    "high",
    "low",
    "open",
)

Rank = tuple[float, ...]
"""A candle's values; the greater of two is the one that stays."""

Tag = bytes


class Whereabouts(NamedTuple):
    """Where a market's entries are.

    Attributes:
        held: ids that the stream holds.
        waiting: those of them that are still to be written.
        letters: the tags of the dead letters.
    """

    held: set[bytes]
    waiting: set[bytes]
    letters: list[Tag | None]


class Books:
    """All that was published under one prefix, and the checks.

    Args:
        client: a connection to the broker of its own.
        settings: the prefix, the group and the store.
        shelf: where candles lie.
    """

    def __init__(self, client: Any, settings: Settings, shelf: Shelf) -> None:
        self._client = client
        self._keys = Keys(settings.broker.prefix)
        self._group = settings.writer.group
        self._shelf = shelf
        self._dataset = Dataset.of(settings)
        self._published: dict[Market, dict[bytes, Candle | SeriesFact | Tag]] = {market: {} for market in Market}
        self._acknowledged: dict[Market, set[bytes]] = {market: set() for market in Market}
        self._ranks: dict[Series, dict[int, set[Rank]]] = defaultdict(lambda: defaultdict(set))
        self._owed: dict[Series, dict[int, Rank]] = defaultdict(dict)  # at least this good a candle must be on disk
        self._notes: dict[Series, list[SeriesFact]] = defaultdict(list)
        self._notes_owed: dict[Series, list[SeriesFact]] = defaultdict(list)
        self._copies: Counter[Tag] = Counter()  # how often a malformed entry must be found
        self._files: dict[tuple[Series, str], tuple[object, dict[int, Rank]]] = {}

    # What happens

    def publish(self, item: Candle | SeriesFact) -> None:
        """Put a candle or a note into its stream."""
        market = item.series.market
        self._published[market][self._client.xadd(self._keys.candles(market), encode_entry(item))] = item
        if isinstance(item, Candle):
            self._ranks[item.series][item.open_time_ms].add(_rank(item))
        else:
            self._notes[item.series].append(item)

    def publish_malformed(self, market: Market, fields: dict[str, Any]) -> None:
        """Put an entry that is neither into a stream; its tag is added."""
        tag = f"malformed-{len(self._copies)}".encode()
        self._copies[tag] = 1
        self._published[market][self._client.xadd(self._keys.candles(market), fields | {TAG.decode(): tag})] = tag

    def requeued(self, market: Market, tag: Tag) -> None:
        """A dead letter was put back: it has a new id, the newest of its stream."""
        (number, _), *_ = self._client.xrevrange(self._keys.candles(market), count=1)
        self._published[market][number] = tag

    def dropped(self, tag: Tag) -> None:
        """A dead letter was dropped."""
        self._copies[tag] -= 1

    def group_will_be_made_again(self, market: Market) -> None:
        """Before the group is destroyed: all that the stream holds is delivered again, also what was buried."""
        for number in self.deletable(market):
            item = self._published[market][number]
            if isinstance(item, Tag):
                self._copies[item] += 1

    def deletable(self, market: Market) -> list[bytes]:
        """Ids of entries that a stream still holds and nobody waits for."""
        at = self._whereabouts()[market]
        return sorted(at.held - at.waiting)

    def delete_stream(self, market: Market) -> None:
        """Delete a stream, if nobody waits for anything in it, and the group with it.

        Ids are made from the broker's clock: none is given twice, because this returns when the clock has gone on.
        """
        held, waiting, _ = self._whereabouts()[market]
        if waiting or not held:
            return
        self._client.delete(self._keys.candles(market))
        newest_ms = max(_order(number)[0] for number in held)
        while _milliseconds(self._client.time()) <= newest_ms:
            pass

    def waiting(self) -> int:
        """Entries of all streams that were not acknowledged yet."""
        return sum(len(at.waiting) for at in self._whereabouts().values())

    def pending_of(self, consumer: str) -> int:
        """Entries that were given to one consumer and not acknowledged by any."""
        return sum(
            len(self._client.xpending_range(self._keys.candles(market), self._group, "-", "+", 100_000, consumer))
            for market in Market
        )

    def join_months(self) -> None:
        """Join every month of every series."""
        for series in self._ranks:
            self._shelf.join_months(series)

    # What must be true

    def check(self) -> None:
        """Whatever happened: nothing is lost, nothing is doubled, nothing was made up."""
        for market, at in self._whereabouts().items():
            self._settle(market, at.waiting)
            self._check_malformed(market, at)
        for series in self._ranks:
            self._check_rows(series, self._rows(series))
        for series, owed in self._notes_owed.items():
            ledger = self._dataset.metadata(series)
            for note in owed:
                assert _holds(ledger, note), f"{note} was acknowledged and is not in the ledger: {ledger}"

    def check_all_is_stored(self) -> None:
        """When nothing waits any more: what is stored is what was published, no more and no less."""
        assert self.waiting() == 0
        self.check()
        for series, times in self._ranks.items():
            assert self._rows(series) == {time: max(ranks) for time, ranks in times.items()}, f"rows of {series}"
        for series, notes in self._notes.items():
            self._check_ledger(self._dataset.metadata(series), notes)

    def _settle(self, market: Market, waiting: set[bytes]) -> None:
        """Take down what has been acknowledged since the last time."""
        for number in self._published[market].keys() - waiting - self._acknowledged[market]:
            self._acknowledged[market].add(number)
            match self._published[market][number]:
                case Candle() as candle:
                    owed = self._owed[candle.series]
                    owed[candle.open_time_ms] = max(owed.get(candle.open_time_ms, ()), _rank(candle))
                case SeriesFact() as note:
                    self._notes_owed[note.series].append(note)

    def _check_malformed(self, market: Market, at: Whereabouts) -> None:
        items = self._published[market]
        found = Counter(item for number in at.waiting if isinstance(item := items[number], Tag))
        for tag in at.letters:
            assert tag is not None, f"a good entry of {market} was buried"
            found[tag] += 1
        expected = Counter({item: self._copies[item] for item in items.values() if isinstance(item, Tag)})
        assert found == expected, f"malformed entries of {market} are lost or doubled"

    def _check_rows(self, series: Series, rows: dict[int, Rank]) -> None:
        for time, rank in rows.items():
            assert rank in self._ranks[series][time], f"{series} at {time} was never published so: {rank}"
        owed = self._owed[series]
        for time, least in owed.items():
            assert time in rows, f"{series} at {time} was acknowledged, or on disk before, and is not on disk"
            assert rows[time] >= least, f"{series} at {time}: {least} was acknowledged, {rows[time]} is on disk"
        owed.update(rows)

    def _check_ledger(self, ledger: SeriesMetadata, notes: Iterable[SeriesFact]) -> None:
        of = {kind: [note for note in notes if note.kind is kind] for kind in FactKind}
        absent = Spans((note.from_ms, note.to_ms) for note in of[FactKind.ABSENT])
        assert list(ledger.absent) == list(absent)
        assert ledger.began_ms == min((note.from_ms for note in of[FactKind.BEGAN]), default=None)
        assert _noted(ledger.began_noted_ms) == max((note.noted_ms for note in of[FactKind.BEGAN]), default=0)
        ended = max(((note.noted_ms, note.from_ms, note.reason) for note in of[FactKind.ENDED]), default=(0, None, ""))
        assert (_noted(ledger.ended_noted_ms), ledger.ended_ms, ledger.reason) == ended

    # What is

    def _whereabouts(self) -> dict[Market, Whereabouts]:
        """Where every entry is, as the broker says in one answer."""
        pipeline = self._client.pipeline(transaction=True)
        for market in Market:
            stream = self._keys.candles(market)
            pipeline.xrange(stream)
            pipeline.xrange(self._keys.dead_letters(market))
            pipeline.xinfo_groups(stream)
            pipeline.xpending_range(stream, self._group, "-", "+", 100_000)
        answers = iter(pipeline.execute(raise_on_error=False))  # there may be no stream, and no group
        return {market: self._at(*itertools.islice(answers, 4)) for market in Market}

    def _at(self, entries: Any, buried: Any, groups: Any, pending: Any) -> Whereabouts:
        held = {number for number, _ in entries}
        letters = [fields.get(ENTRY_PREFIX + TAG) for _, fields in buried]
        if isinstance(pending, redis.ResponseError):
            return Whereabouts(held, held, letters)
        given = {entry["message_id"] for entry in pending}
        assert given <= held, f"pending entries were removed from the stream: {given - held}"
        last = next(_order(group["last-delivered-id"]) for group in groups if group["name"] == self._group.encode())
        return Whereabouts(held, given | {number for number in held if _order(number) > last}, letters)

    def _rows(self, series: Series) -> dict[int, Rank]:
        """What is stored, each row once."""
        rows: dict[int, Rank] = {}
        for part in self._shelf.partitions(series):
            span = partition_span(part.name)
            assert span is not None, f"{part.name} of {series} is no partition"
            found = self._file(part, series)
            assert all(span[0] <= time < span[1] for time in found), f"{part.name} holds rows of another period"
            both = found.keys() & rows.keys()
            assert self._shelf.may_double or not both, f"{part.name} of {series} holds rows that are elsewhere too"
            rows |= found | {time: max(found[time], rows[time]) for time in both}
        return rows

    def _file(self, part: Lying, series: Series) -> dict[int, Rank]:
        known = self._files.get((series, part.name))
        if known is None or known[0] != part.identity:
            known = self._files[series, part.name] = (part.identity, _read(part, series))
        return known[1]


def _read(part: Lying, series: Series) -> dict[int, Rank]:
    table = pq.ParquetFile(pa.BufferReader(part.content())).read()
    times = table.column("candle_begin_time").cast(pa.int64()).to_numpy().tolist()
    ends = table.column("candle_end_time").cast(pa.int64()).to_numpy().tolist()
    assert times == sorted(set(times)), f"{part.name} of {series} is not strictly ascending"
    assert ends == [series.interval.end(time) for time in times], f"{part.name} of {series} has ends that are none"
    return dict(zip(times, zip(*(table.column(name).to_pylist() for name in _COLUMNS), strict=True), strict=True))


def _rank(candle: Candle) -> Rank:
    return tuple(float(getattr(candle, name)) for name in _COLUMNS)


def _holds(ledger: SeriesMetadata, note: SeriesFact) -> bool:
    match note.kind:
        case FactKind.ABSENT:
            return any(begin <= note.from_ms and note.to_ms <= end for begin, end in ledger.absent)
        case FactKind.FETCHED:
            return any(begin <= note.from_ms and note.to_ms <= end for begin, end in ledger.fetched)
        case FactKind.REPAIRED:
            return any(begin <= note.from_ms and note.to_ms <= end for begin, end in ledger.repaired)
        case FactKind.BEGAN:
            is_early = ledger.began_ms is not None and ledger.began_ms <= note.from_ms
            return is_early and _noted(ledger.began_noted_ms) >= note.noted_ms
        case FactKind.ENDED:
            ended = (ledger.ended_noted_ms, ledger.ended_ms or 0, ledger.reason)
            return ended >= (note.noted_ms, note.from_ms, note.reason)


def _noted(time_ms: int) -> int:
    """When something was noted; never, and at no time of the exchange's, are the same to a ledger."""
    return max(0, time_ms)


def _order(number: bytes) -> tuple[int, int]:
    milliseconds, _, sequence = number.partition(b"-")
    return int(milliseconds), int(sequence)


def _milliseconds(moment: tuple[int, int]) -> int:
    return moment[0] * 1000 + moment[1] // 1000
