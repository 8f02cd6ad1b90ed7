"""Poison isolation: finds the entry that fails its series, or ends the writer, by writing suspect entries alone.

Two kinds of internal error make that necessary. One raises an error that neither disk nor file explains: it fails its
series, and after ``tries`` times each of the series' entries is written alone. The other ends the whole process. The
entries of its flush are still pending when the writer starts again, and one of them may end it for ever. So the broker
counts how often a writer has started since a flush last stored something (``CrashCount``). Beyond ``tries`` such starts
all that is pending is written alone, each entry under a mark that goes when the entry was tried and the writer lives.

An entry goes to the dead letters only when it fails alone while something else can be stored: an error that meets
everything is not an entry's. An entry that has ended the writer ``tries`` times, written alone, is a suspect. It is
tried again only when this writer has stored something else, and given up when it has ended the writer ``tries`` times
more even so. A disk that refuses is waited for as long as it takes.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from redis.exceptions import OutOfMemoryError

from consumer.group.batch import Batch
from consumer.group.reader import EntryReader
from consumer.storage.candle_store import Written
from consumer.storage.flush import Flusher
from shared.broker.client import SyncClient
from shared.broker.entry import Entry
from shared.candle import Series
from shared.errors import InternalStoreError, StoreError
from shared.market import Market

_FEW = 3  # entries of a series that are tried while nothing at all can be written
_ENDED = "the writer ended each time that it was to be written alone"
_STARTS = "starts"
_COUNT_LASTS_SECONDS = 7 * 86_400


class CrashCount:
    """How often a writer has started in vain and which entries ended it, counted under ``Keys.crash_count``.

    More than ``tries`` is too often. A broker that is full counts nothing.
    """

    def __init__(self, client: SyncClient, key: str, tries: int) -> None:
        self._client: Any = client  # redis-py types its answers as whatever any protocol version may return
        self._key = key
        self._tries = tries
        self._is_counted = False
        self._marked = ""

    def count_start(self) -> bool:
        """Count a start; whether pending entries have to be written alone."""
        try:
            starts = int(self._client.hincrby(self._key, _STARTS, 1))
            self._client.expire(self._key, _COUNT_LASTS_SECONDS)
        except OutOfMemoryError:
            return False
        self._is_counted = True
        return starts > self._tries

    def mark(self, entry: Entry, *, others_can: bool = False) -> bool:
        """Mark an entry as the only one that is being written; False when it has ended the writer too often.

        That is twice as often when this writer has stored something else (``others_can``).
        """
        name = f"{entry.market}/{entry.id.decode()}"
        if name == self._marked:  # the broker was away in between, and we have not ended
            return True
        try:
            ended = int(self._client.hget(self._key, name) or 0)
            if ended >= self._tries * (2 if others_can else 1):
                return False
            self._client.hset(self._key, name, ended + 1)
            self._client.expire(self._key, _COUNT_LASTS_SECONDS)
        except OutOfMemoryError:
            return True
        self._marked = name
        return True

    def unmark(self) -> None:
        """The entry that is marked has been tried, whether or not it could be stored, and the writer goes on."""
        self._client.hdel(self._key, self._marked)
        self._marked = ""

    def reset(self) -> None:
        """Entries have been stored, or the writer leaves in good order: the next start is the first again."""
        if self._is_counted:
            self._client.delete(self._key)
            self._is_counted = False


class PoisonIsolation:
    """Writes suspect entries alone, for one writer. Entries that are done with leave the batch.

    ``go_on`` is called between two entries, which may be many, each with its syncs; False: the rest stays pending.
    ``stored`` is told of each entry that is durable and acknowledged.
    """

    def __init__(
        self,
        flusher: Flusher,
        reader: EntryReader,
        batch: Batch,
        crashes: CrashCount,
        tries: int,
        go_on: Callable[[], bool],
        stored: Callable[[Entry, Written], None],
    ) -> None:
        self._flusher = flusher
        self._reader = reader
        self._batch = batch
        self._crashes = crashes
        self._tries = tries
        self._go_on = go_on
        self._stored = stored
        self._errors: Counter[Series] = Counter()
        self._suspects: dict[tuple[Market, bytes], Entry] = {}

    def is_suspect(self, entry: Entry) -> bool:
        """Whether an entry has ended the writer too often, and waits until something else can be stored."""
        return (entry.market, entry.id) in self._suspects

    def forget_suspects(self) -> bool:
        """Forget suspects, since all that is pending will be read again; whether there was any."""
        had_any, self._suspects = bool(self._suspects), {}
        return had_any

    def write_pending(self, entries: Iterable[Entry]) -> None:
        """Write pending entries, of which one may have ended our predecessors, each under its own mark."""
        stored = False
        for entry in entries:
            if not self._go_on():
                return
            if not self._crashes.mark(entry):
                self._suspects[entry.market, entry.id] = entry
                continue
            stored = self._try(entry) or stored
        if stored:
            self.try_suspects()

    def try_suspects(self) -> None:
        """Now that something else was stored: try suspects again, and give up those that ended us all the same."""
        for key, entry in list(self._suspects.items()):
            if self._crashes.mark(entry, others_can=True):
                self._try(entry)
            else:
                self._reader.give_up(entry, _ENDED)
            del self._suspects[key]

    def isolate(
        self, groups: Mapping[Series, Sequence[Entry]], failures: dict[Series, StoreError], *, others_can: bool
    ) -> None:
        """Write the entries of series that have met an internal error often enough alone, after a flush of ``groups``.

        Args:
            groups: what the flush was to write.
            failures: why it could not write some series; a series of which nothing is left is taken out.
            others_can: whether the flush could write another series.
        """
        for series in groups.keys() - failures.keys():
            self._errors.pop(series, None)
        for series in [series for series, error in failures.items() if isinstance(error, InternalStoreError)]:
            self._errors[series] += 1
            if self._errors[series] >= self._tries and not self._isolate_series(groups[series], others_can=others_can):
                del failures[series], self._errors[series]

    def _isolate_series(self, entries: Sequence[Entry], *, others_can: bool) -> int:
        """Write entries one by one, and give up those that cannot be written; how many are left for another time."""
        left = len(entries)
        refused: list[Entry] = []
        for entry in entries:
            if (len(refused) >= _FEW and not others_can) or not self._go_on():
                break
            failure = self._write(entry)
            if failure is None:
                others_can = True
                left -= 1
            elif isinstance(failure, InternalStoreError):
                refused.append(entry)
        return left - sum(map(self._store_or_give_up, refused)) if others_can else left

    def _store_or_give_up(self, entry: Entry) -> bool:
        """Write an entry once more, for the trouble may be over, or give it up; False when it has to wait."""
        failure = self._write(entry)
        if isinstance(failure, InternalStoreError):
            self._reader.give_up(entry, str(failure))
            self._batch.remove([entry])
        return failure is None or isinstance(failure, InternalStoreError)

    def _try(self, entry: Entry) -> bool:
        """Write a marked entry, which did not end us if this returns; whether it is stored."""
        failure = self._write(entry)
        if failure is not None:
            self._batch.add([entry], time.monotonic())  # the disk's affair, or an error that ends nobody
        self._crashes.unmark()
        return failure is None

    def _write(self, entry: Entry) -> StoreError | None:
        """Write one entry and acknowledge it; why that was not possible, or None."""
        (result,) = self._flusher.write({entry.item.series: [entry]}).values()
        if isinstance(result, StoreError):
            return result
        self._reader.acknowledge([entry])
        self._batch.remove([entry])
        self._stored(entry, result)
        return None
