"""Entries written one at a time, to tell the one that cannot be written from all the others.

Two faults of ours make that necessary. One raises an error that neither disk nor file explains: it fails its series,
and after a set number of times each of the series' entries is written alone. The other ends the whole process
(``consumer.recovery.crash_count``): then all that was pending is written alone. An entry is given up, to the dead
letters, only when it fails alone while something else can be stored: a fault that meets everything is not an entry's.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from consumer.group.batch import Batch
from consumer.group.reader import EntrySource
from consumer.recovery.crash_count import Starts
from consumer.storage.flush import Flusher
from shared.broker.entry import Entry
from shared.candle import Candle, Series
from shared.errors import StoreError, UnstorableError
from shared.market import Market

_FEW = 3  # entries of a series that are tried while nothing at all can be written
_ENDED = "the writer ended each time that it was to be written alone"


class Alone:
    """One writer's way with entries that may be at fault.

    Args:
        flusher: writes them.
        source: where they are acknowledged and given up.
        batch: what waits; entries that are done with leave it.
        starts: how often entries have ended the writer.
        tries: how often a series may meet a fault before its entries are written alone.
        beat: called between two entries: there may be many, and each takes its syncs.
        is_stopping: asked between two entries; what is left then stays pending.

    Attributes:
        written: candles written alone.
        files: partitions replaced for them.
    """

    def __init__(
        self,
        flusher: Flusher,
        source: EntrySource,
        batch: Batch,
        starts: Starts,
        tries: int,
        beat: Callable[[], None],
        is_stopping: Callable[[], bool],
    ) -> None:
        self.written = self.files = 0
        self._flusher = flusher
        self._source = source
        self._batch = batch
        self._starts = starts
        self._tries = tries
        self._beat = beat
        self._is_stopping = is_stopping
        self._faults: Counter[Series] = Counter()
        self._suspects: dict[tuple[Market, bytes], Entry] = {}

    def is_suspect(self, entry: Entry) -> bool:
        """Whether an entry has ended the writer so often that it waits until something else can be stored."""
        return (entry.market, entry.id) in self._suspects

    def forget_suspects(self) -> bool:
        """Forget who is suspect, since all that is pending will be read again; whether there was any."""
        had_any = bool(self._suspects)
        self._suspects.clear()
        return had_any

    def write_pending(self, entries: Iterable[Entry]) -> None:
        """Write entries of which one may have ended our predecessors, each under its own mark."""
        stored = False
        for entry in entries:
            if self._is_stopping():
                return
            self._beat()
            if not self._starts.may_try(entry):
                self._suspects[entry.market, entry.id] = entry
                continue
            stored = self._try(entry) or stored
        if stored:
            self.settle_suspects()

    def settle_suspects(self) -> None:
        """Now that something else could be stored: try suspects again, and give up those that ended us all the same."""
        for key, entry in list(self._suspects.items()):
            if self._starts.may_try(entry, others_can=True):
                self._try(entry)
            else:
                self._source.give_up(entry, _ENDED)
            del self._suspects[key]

    def part_with_faults(
        self, groups: Mapping[Series, Sequence[Entry]], failures: dict[Series, StoreError], *, is_particular: bool
    ) -> None:
        """Tell faulty entries from others, in series that have met a fault of ours often enough.

        Args:
            groups: what a flush was to write.
            failures: why it could not write some series; one of which nothing is left to be written is taken out.
            is_particular: whether the flush could write another series.
        """
        for series in groups.keys() - failures.keys():
            self._faults.pop(series, None)
        for series, error in list(failures.items()):
            if not isinstance(error, UnstorableError):
                continue
            self._faults[series] += 1
            if self._faults[series] < self._tries:
                continue
            if not self._store_or_part(groups[series], is_particular=is_particular):
                del failures[series], self._faults[series]

    def _store_or_part(self, entries: Sequence[Entry], *, is_particular: bool) -> int:
        """Write entries one by one, and give up those that cannot be written; how many are left for another time."""
        left = len(entries)
        refused: list[Entry] = []
        for entry in entries:
            if self._is_stopping() or (len(refused) >= _FEW and not is_particular):
                break
            self._beat()
            failure = self._write(entry)
            if failure is None:
                is_particular = True
                left -= 1
            elif isinstance(failure, UnstorableError):
                refused.append(entry)
        return left - sum(map(self._store_or_give_up, refused)) if is_particular else left

    def _store_or_give_up(self, entry: Entry) -> bool:
        """Write an entry once more, since the fault may be over, or give it up; False when it has to wait."""
        failure = self._write(entry)
        if isinstance(failure, UnstorableError):
            self._source.give_up(entry, str(failure))
            self._batch.written([entry])
        return failure is None or isinstance(failure, UnstorableError)

    def _try(self, entry: Entry) -> bool:
        """Write a marked entry, which did not end us if this returns; whether it is stored."""
        failure = self._write(entry)
        if failure is not None:
            self._batch.add([entry], time.monotonic())  # the disk's affair, or a fault that ends nobody
        self._starts.lived()
        return failure is None

    def _write(self, entry: Entry) -> StoreError | None:
        """Write one entry and acknowledge it; why that was not possible, or None."""
        (result,) = self._flusher.write({entry.item.series: [entry]}).values()
        if isinstance(result, StoreError):
            return result
        self._source.acknowledge([entry])
        self._batch.written([entry])
        self.written += isinstance(entry.item, Candle)
        self.files += result.files
        return None
