"""One crash trial: one writer, one flush, at most one fault at one of its system calls, one restart.

Some rows are on disk; a writer runs; candles and notes are published at once (``chaos.scenario``). The flush that takes
them waits for the first series' lock, which the trial holds until strace is attached: so what strace counts begins with
the flush, in the same order each time. Then the fault happens. A writer that lives on must bring everything to disk by
itself and stop in good order; then, and after a kill, a new one is started and stopped. All the while a reader reads.
"""

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import redis

from chaos import strace
from chaos.rows import Onlooker, Row, Seen, compare, true_row
from chaos.scenario import FIRST, SERIES, history, notes, notes_before, published, store_history
from chaos.strace import Call, Fault
from chaos.waiting import NotInTimeError, wait_until
from consumer.layout import series_folder
from consumer.ledger import Ledger, SeriesLedger
from shared.broker import Keys, sync_client
from shared.candle import Candle, Series
from shared.entry import encode_entry
from shared.heartbeat import heartbeats
from shared.market import Market
from shared.note import Note
from shared.settings import ENV_PREFIX, Settings, load_settings

_STAGED = r'"/staging/writer-\d+/\d+'
_STAGED_FD = r"\d+</staging/writer-\d+/\d+"
_SERIES_FOLDER = r"/candles/market=\w+/interval=\w+/symbol=\w+"
PLACES = {
    "make a folder": r'mkdir(at)?\(.*"/candles',
    "open a folder above": r'open(at)?\(.*"(/candles(/market=\w+(/interval=\w+)?)?|/)", ',
    "sync a folder above": r"fsync\(\d+<(/candles(/market=\w+(/interval=\w+)?)?|/)>",
    "open a series' folder": rf'open(at)?\(.*"{_SERIES_FOLDER}", ',
    "open a partition": rf'open(at)?\(.*"{_SERIES_FOLDER}/[-\w]+\.parquet", O_RDONLY',
    "open a staged partition": rf'open(at)?\(.*{_STAGED}\.parquet", O_WRONLY',
    "write a staged partition": rf"p?write(64)?\({_STAGED_FD}\.parquet",
    "sync a staged partition": rf"f(data)?sync\({_STAGED_FD}\.parquet",
    "rename over a partition": rf"rename(at|at2)?\(.*{_STAGED}\.parquet",
    "sync a series' folder": rf"fsync\(\d+<{_SERIES_FOLDER}>",
    "make a folder of the ledger": r'mkdir(at)?\(.*"/ledger',
    "open a folder of the ledger": r'open(at)?\(.*"/ledger[^"]*(?<!\.json)", ',
    "sync a folder of the ledger": r"fsync\(\d+</ledger[^>]*(?<!\.json)>",
    "open a ledger": r'open(at)?\(.*"/ledger/[^"]*\.json", ',
    "open a staged ledger": rf'open(at)?\(.*{_STAGED}\.json", O_WRONLY',
    "write a staged ledger": rf"write\({_STAGED_FD}\.json",
    "sync a staged ledger": rf"fsync\({_STAGED_FD}\.json",
    "rename over a ledger": rf"rename(at|at2)?\(.*{_STAGED}\.json",
    "send the acknowledgement": r"sendto\(.*nXACK\\r",
    "receive its answer": r"recvfrom\(",
}
"""The steps of a flush by name, each as what its calls look like in strace's log, the data folder cut off."""


@dataclass(slots=True)
class Outcome:
    """What came of a fault at a place; everything but ``tried`` and ``clean_errors`` must be zero.

    Attributes:
        place: where.
        fault: what.
        tried: trials.
        lost: rows and ledgers that were not as they should be after the restart.
        doubled: rows that were there more than once, or should not have been.
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
    left: int = 0
    reader_errors: int = 0
    clean_errors: int = 0
    polls: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost, doubled, left or seen wrong."""
        return not (self.lost or self.doubled or self.left or self.reader_errors)

    def add(self, other: "Outcome") -> None:
        """Count another trial's outcome in."""
        for name in ("tried", "lost", "doubled", "left", "reader_errors", "clean_errors", "polls"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.notes.extend(other.notes)


@dataclass(frozen=True, slots=True)
class Place:
    """One call of a flush.

    Attributes:
        name: which kind of step it belongs to.
        call: its name and number, as strace counts.
    """

    name: str
    call: Call


def place_of(call: Call, data: Path) -> str | None:
    """The step of a flush that a call belongs to; None for a call that is none."""
    text = f"{call.name}({call.text}".replace(f"{data}/", "/").replace(str(data), "/")
    return next((name for name, pattern in PLACES.items() if re.match(pattern, text)), None)


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
        self._log = folder / "strace.log"

    def run(self, fault: Fault | None = None, place: Place | None = None) -> Outcome:
        """Run it: a fault at a place, or none.

        Raises:
            NotInTimeError: when the fault did not happen where it should, or a process hangs.
        """
        before, new, facts = history(), published(), notes()
        outcome = Outcome(place.name if place else "", fault or "", tried=1)
        store_history(self.settings, before)
        truth = [true_row(candle) for candle in {*before, *new}]
        try:
            with Onlooker(self.settings.candles_folder, SERIES, truth) as onlooker:
                with self._writer("writer") as writer, self._flush_waiting(writer, [*new, *facts]) as release:
                    with strace.attached(writer.pid, self._log, fault, place.call if place else None):
                        release()
                        self._await(writer, fault)
                    self._check_where(fault, place)
                    self._stop(writer, fault, outcome)
                with self._writer("restarted") as writer:
                    self._stop(writer, None, outcome)
            self._judge(outcome, onlooker.seen, truth)
        finally:
            self._forget()
        return outcome

    def places(self) -> Iterator[tuple[str, Call]]:
        """The calls of the flush that was traced, up to the acknowledgement's answer, each with its place."""
        acknowledging = False
        for call in strace.calls(self._log):
            name = place_of(call, self.settings.data.folder)
            acknowledging = acknowledging or name == "send the acknowledgement"
            if name is not None and (acknowledging or name != "receive its answer"):
                yield name, call
            if acknowledging and name == "receive its answer":
                return

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
    def _flush_waiting(
        self, writer: "subprocess.Popen[bytes]", items: Sequence[Candle | Note]
    ) -> Iterator[Callable[[], None]]:
        """Publish, and hold the flush before its first series; yields what lets it go on."""
        held = self.settings.candles_folder / series_folder(FIRST)
        fd = os.open(held, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            self._publish(items)
            wait_until(lambda: writer.poll() is not None or _has_open(writer.pid, held), "the flush begins")
            yield lambda: fcntl.flock(fd, fcntl.LOCK_UN)
        finally:
            os.close(fd)

    def _publish(self, items: Sequence[Candle | Note]) -> None:
        """All at once, so that one flush takes them all."""
        pipeline = self._client.pipeline(transaction=True)
        for item in items:
            fields: dict[Any, Any] = dict(encode_entry(item))
            pipeline.xadd(self._keys.candles(item.series.market), fields)
        pipeline.execute()

    def _await(self, writer: "subprocess.Popen[bytes]", fault: Fault | None) -> None:
        """Until the fault has happened; without one until everything is acknowledged."""
        if fault is None:
            wait_until(lambda: self._pending() == 0, "everything is acknowledged")
        elif fault is Fault.KILLED_BEFORE:
            wait_until(lambda: writer.poll() is not None, "the writer is killed")
        else:
            wait_until(lambda: strace.happened(self._log, fault), f"{fault} is injected")
            if fault.kills:
                writer.kill()

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
        """Unless the fault killed it: let it empty the pending list by itself, then stop it in good order."""
        if fault is not None and fault.kills:
            wait_until(lambda: writer.poll() is not None, "the killed writer is gone")
            if writer.returncode != -signal.SIGKILL:
                raise NotInTimeError(f"the writer ended by itself with {writer.returncode}; see {self._folder}")
            return
        try:
            wait_until(lambda: writer.poll() is not None or self._pending() == 0, "the pending list is empty", 20)
        except NotInTimeError as error:
            outcome.left += 1
            outcome.notes.append(str(error))
        writer.send_signal(signal.SIGTERM)
        wait_until(lambda: writer.poll() is not None, f"a writer stops; see {self._folder}")
        if writer.returncode != 0:
            outcome.left += 1
            outcome.notes.append(f"a writer ended with {writer.returncode}; see {self._folder}")

    def _judge(self, outcome: Outcome, seen: Seen, truth: Sequence[Row]) -> None:
        compared = compare(self.settings.candles_folder, truth)
        outcome.lost += compared.lost + compared.unreadable + self._ledgers_lost()
        outcome.doubled += compared.doubled
        staged = [path for path in self.settings.staging_folder.rglob("*") if path.is_file()]
        letters = sum(int(self._client.xlen(self._keys.dead_letters(market))) for market in Market)
        outcome.left += self._pending() + letters + len(staged)
        outcome.reader_errors, outcome.clean_errors, outcome.polls = seen.errors, seen.clean, seen.polls
        if seen.first:
            outcome.notes.append(f"the reader: {seen.first}")

    def _ledgers_lost(self) -> int:
        ledger, expected = Ledger(self.settings.ledger_folder), dict[Series, SeriesLedger]()
        for note in (*notes_before(), *notes()):
            expected.setdefault(note.series, SeriesLedger()).take(note)
        return sum(str(ledger.read(series)) != str(truth) for series, truth in expected.items())

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
