"""One crash trial: one writer, one flush, at most one fault at one of its system calls, one restart.

Some rows are on disk; a writer runs; candles and notes are published at once (``scenario``). The flush that takes
them waits for the first series' lock, which the trial holds until strace is attached: so what strace counts begins with
the flush, in the same order each time. Then the fault happens. A writer that lives on must bring everything to disk by
itself and stop in good order; then, and after a kill, a new one is started and stopped. All the while a reader reads.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import redis

from chaos.crashes import strace
from chaos.crashes.durable import unsynced
from chaos.crashes.places import Place, place_of, places_of
from chaos.crashes.rows import Onlooker, Row, Seen, compare, true_row
from chaos.crashes.scenario import FIRST, SERIES, facts, facts_before, history, published, store_history
from chaos.crashes.strace import Fault
from chaos.waiting import NotInTimeError, wait_until
from consumer.dataset.dataset import Dataset
from consumer.storage.layout import series_folder
from consumer.storage.metadata import SeriesMetadata
from shared.broker.client import sync_client
from shared.broker.entry import encode_entry
from shared.broker.heartbeat import heartbeats
from shared.broker.keys import Keys
from shared.candle import Candle, Series
from shared.market import Market
from shared.series_fact import SeriesFact
from shared.settings.load import load_settings
from shared.settings.model import ENV_PREFIX, Settings


@dataclass(slots=True)
class Outcome:
    """What came of a fault at a place; everything but ``tried`` and ``clean_errors`` must be zero.

    Attributes:
        place: where.
        fault: what.
        tried: trials.
        lost: rows and metadata that were not as they should be after the restart.
        doubled: rows that were there more than once, or should not have been.
        unsynced: names and files below the data folder that were acknowledged and not durable (``durable``).
        left: entries pending, dead letters, and files in the staging folder after the restart; writers that ended by
            themselves although their process was not killed.
        reader_errors: torn, doubled, missing or wrong rows that the reader saw.
        clean_errors: times that the reader was told that a file or folder is gone.
        notes: what was wrong, in words.
    """

    place: str
    fault: str
    tried: int = 0
    lost: int = 0
    doubled: int = 0
    unsynced: int = 0
    left: int = 0
    reader_errors: int = 0
    clean_errors: int = 0
    polls: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost, doubled, unsynced, left or seen wrong."""
        return not (self.lost or self.doubled or self.unsynced or self.left or self.reader_errors)

    def add(self, other: "Outcome") -> None:
        """Count another trial's outcome in."""
        for name in ("tried", "lost", "doubled", "unsynced", "left", "reader_errors", "clean_errors", "polls"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.notes.extend(other.notes)


_LAST = "receive its answer"  # of the steps of a flush


class Trial:
    """One writer, one flush, at most one fault, one restart.

    Args:
        broker: URL of a broker.
        folder: an empty folder, for data and logs; its name is the prefix of the keys.
    """

    def __init__(self, broker: str, folder: Path) -> None:
        flags: dict[str, Any] = {
            "broker": {"url": broker, "prefix": folder.name},
            "data": {"folder": folder / "data"},
            "writer": {"flush_seconds": 0.5, "lock_timeout_seconds": 120, "claim_seconds": 300},
            "log": {"level": "WARNING"},
        }
        self.settings: Settings = load_settings(flags=flags)
        self._folder = folder
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)} | {
            f"{ENV_PREFIX}{section}_{key}".upper(): str(value)
            for section, values in flags.items()
            for key, value in values.items()
        }
        self._client = sync_client(self.settings)
        self._keys = Keys(folder.name)
        self._log, self._second_log = folder / "strace.log", folder / "strace-restarted.log"
        self._held = self.settings.candles_folder / series_folder(FIRST)

    def run(self, fault: Fault | None = None, place: Place | None = None) -> Outcome:
        """Run it: a fault at a place, or none.

        Raises:
            NotInTimeError: when the fault did not happen where it should, or a process hangs.
        """
        before, new, new_facts = history(), published(), facts()
        outcome = Outcome(place.name if place else "", fault or "", tried=1)
        store_history(self.settings, before)
        truth = [true_row(candle) for candle in {*before, *new}]
        try:
            with Onlooker(self.settings.candles_folder, SERIES, truth) as onlooker:
                with self._first_series_held() as release, self._writer("writer") as writer:
                    self._publish([*new, *new_facts])
                    self._await_flush(writer)
                    with strace.attached(writer.pid, self._log, fault, place.call if place else None):
                        release()
                        self._await_fault(writer, fault)
                        self._await_recovery(writer, fault, outcome)
                        if fault is None:  # the broker knows of the acknowledgement before its answer is read
                            wait_until(lambda: self._ends_with(_LAST), f"the flush's end in {self._log}")
                    self._check_where(fault, place)
                    self._stop(writer, fault, outcome)
                with self._first_series_held() as release, self._writer("restarted") as writer:
                    if self._pending():
                        self._await_flush(writer)
                    with strace.attached(writer.pid, self._second_log):
                        release()
                        self._await_recovery(writer, None, outcome)
                    self._stop(writer, None, outcome)
            self._judge(outcome, onlooker.seen, truth)
        finally:
            self._forget()
        return outcome

    def _ends_with(self, name: str) -> bool:
        return any(place.name == name for place in self.places())

    def places(self) -> list[Place]:
        """The calls of the flush that was traced, each with its step."""
        return list(places_of(strace.calls(self._log), self.settings.data.folder))

    @contextlib.contextmanager
    def _writer(self, name: str) -> Iterator["subprocess.Popen[bytes]"]:
        """A writer's process that has said that it lives; it is gone when the context ends."""
        with (self._folder / f"{name}.log").open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "candlewick", "write"],
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            wait_until(
                lambda: (
                    process.poll() is not None
                    or any(name.endswith(f"-{process.pid}") for _, name in heartbeats(self._client, self._keys))
                ),
                f"a writer lives; its log is {output.name}",
            )
            yield process
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
            process.kill()
            process.wait()

    @contextlib.contextmanager
    def _first_series_held(self) -> Iterator[Callable[[], None]]:
        """Hold the lock of a flush's first series; yields what lets it go."""
        fd = os.open(self._held, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield lambda: fcntl.flock(fd, fcntl.LOCK_UN)
        finally:
            os.close(fd)

    def _await_flush(self, writer: "subprocess.Popen[bytes]") -> None:
        """Until a flush waits for its first series."""
        wait_until(lambda: writer.poll() is not None or _has_open(writer.pid, self._held), "a flush begins")

    def _publish(self, items: Sequence[Candle | SeriesFact]) -> None:
        """All at once, so that one flush takes them all."""
        pipeline = self._client.pipeline(transaction=True)
        for item in items:
            fields: dict[Any, Any] = dict(encode_entry(item))
            pipeline.xadd(self._keys.candles(item.series.market), fields)
        pipeline.execute()

    def _await_fault(self, writer: "subprocess.Popen[bytes]", fault: Fault | None) -> None:
        if fault is Fault.KILLED_BEFORE:
            wait_until(lambda: writer.poll() is not None, "the writer is killed")
        elif fault is not None:
            wait_until(lambda: strace.happened(self._log, fault), f"{fault} is injected")
        if fault is Fault.KILLED_AFTER:
            writer.kill()

    def _await_recovery(self, writer: "subprocess.Popen[bytes]", fault: Fault | None, outcome: Outcome) -> None:
        """Unless the fault killed it: until the writer has emptied the pending list, by itself."""
        if fault is not None and fault.kills:
            return
        try:
            wait_until(lambda: writer.poll() is not None or self._pending() == 0, "the pending list is empty", 20)
        except NotInTimeError as error:
            outcome.left += 1
            outcome.notes.append(str(error))

    def _check_where(self, fault: Fault | None, place: Place | None) -> None:
        if fault is None or place is None:
            return
        hit = {
            place_of(call, self.settings.data.folder)
            for call in strace.calls(self._log)
            if (call.name, call.number) == (place.call.name, place.call.number)
        }
        if place.name not in hit:
            raise NotInTimeError(f"{fault} was to happen at '{place.name}' and happened at {hit}; see {self._log}")

    def _stop(self, writer: "subprocess.Popen[bytes]", fault: Fault | None, outcome: Outcome) -> None:
        """Stop it in good order, unless it was killed."""
        if fault is not None and fault.kills:
            wait_until(lambda: writer.poll() is not None, "the killed writer is gone")
            if writer.returncode != -signal.SIGKILL:
                raise NotInTimeError(f"the writer ended by itself with {writer.returncode}; see {self._folder}")
            return
        writer.send_signal(signal.SIGTERM)
        wait_until(lambda: writer.poll() is not None, f"a writer stops; see {self._folder}")
        if writer.returncode != 0:
            outcome.left += 1
            outcome.notes.append(f"a writer ended with {writer.returncode}; see {self._folder}")

    def _judge(self, outcome: Outcome, seen: Seen, truth: Sequence[Row]) -> None:
        compared = compare(self.settings.candles_folder, truth)
        outcome.lost += compared.lost + compared.unreadable + self._metadata_lost()
        outcome.doubled += compared.doubled
        staged = [path for path in self.settings.staging_folder.rglob("*") if path.is_file()]
        letters = sum(int(self._client.xlen(self._keys.dead_letters(market))) for market in Market)
        outcome.left += self._pending() + letters + len(staged)
        outcome.reader_errors, outcome.clean_errors, outcome.polls = seen.errors, seen.clean, seen.polls
        at_risk = unsynced(
            [*strace.calls(self._log), *strace.calls(self._second_log)], self.settings.data.folder.absolute()
        )
        outcome.unsynced = len(at_risk)
        outcome.notes.extend(f"acknowledged, and a power cut may still take it: {name}" for name in at_risk)
        if seen.first:
            outcome.notes.append(f"the reader: {seen.first}")

    def _metadata_lost(self) -> int:
        dataset, expected = Dataset.in_folder(self.settings.data.folder), dict[Series, SeriesMetadata]()
        for fact in (*facts_before(), *facts()):
            expected.setdefault(fact.series, SeriesMetadata()).merge(fact)
        return sum(str(dataset.metadata(series)) != str(truth) for series, truth in expected.items())

    def _pending(self) -> int:
        """Entries of the group that were delivered and not acknowledged, and such that were not delivered."""
        waiting = 0
        for market in Market:
            try:
                for group in self._client.xinfo_groups(self._keys.candles(market)):
                    waiting += group["pending"] + (group["lag"] or 0)
            except redis.ResponseError:  # the stream is not there yet
                continue
        return waiting

    def _forget(self) -> None:
        keys = list(self._client.scan_iter(match=f"{self._folder.name}:*", count=1000))
        if keys:
            self._client.delete(*keys)
        self._client.close()


def _has_open(pid: int, path: Path) -> bool:
    """Whether a process has a file or folder open."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            if link.readlink() == path:
                return True
    return False
