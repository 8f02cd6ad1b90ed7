"""One crash trial: one writer, one flush, at most one fault at one of its system calls, one restart.

The flush that takes what is published waits for the first series' lock, which the trial holds until strace is attached:
so what strace counts begins with the flush, in the same order each time. Then the fault happens. All the while a reader
reads.
"""

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from chaos.crashes import strace
from chaos.crashes.durable import unsynced
from chaos.crashes.places import Place, place_of, places_of
from chaos.crashes.rows import Onlooker, Row, Seen, compare, true_row
from chaos.crashes.scenario import FIRST, SERIES, facts, history, published, store_history
from chaos.crashes.strace import Fault
from chaos.crashes.trial import Outcome, Trial
from chaos.waiting import NotInTimeError, wait_until
from consumer.storage.layout import series_folder

_LAST = "receive its answer"  # of the steps of a flush


class CallTrial(Trial):
    """One writer, one flush, at most one fault, one restart.

    Args:
        broker: URL of a broker.
        folder: an empty folder, for data and logs; its name is the prefix of the keys.
    """

    def __init__(self, broker: str, folder: Path) -> None:
        writer = {"flush_seconds": 0.5, "lock_timeout_seconds": 120, "claim_seconds": 300}
        super().__init__(broker, folder, {"writer": writer})
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
                        if fault is None or not fault.kills:
                            self._await_recovery(writer, outcome)
                        if fault is None:  # the broker knows of the acknowledgement before its answer is read
                            wait_until(lambda: self._ends_with(_LAST), f"the flush's end in {self._log}")
                    self._check_where(fault, place)
                    if fault is not None and fault.kills:
                        self._await_death(writer)
                    else:
                        self._stop(writer, outcome)
                with self._first_series_held() as release, self._writer("restarted") as writer:
                    if self._pending():
                        self._await_flush(writer)
                    with strace.attached(writer.pid, self._second_log):
                        release()
                        self._await_recovery(writer, outcome)
                    self._stop(writer, outcome)
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

    def _await_fault(self, writer: "subprocess.Popen[bytes]", fault: Fault | None) -> None:
        if fault is Fault.KILLED_BEFORE:
            wait_until(lambda: writer.poll() is not None, "the writer is killed")
        elif fault is not None:
            wait_until(lambda: strace.happened(self._log, fault), f"{fault} is injected")
        if fault is Fault.KILLED_AFTER:
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

    def _judge(self, outcome: Outcome, seen: Seen, truth: Sequence[Row]) -> None:
        compared = compare(self.settings.candles_folder, truth)
        outcome.lost += compared.lost + compared.unreadable + self._metadata_lost()
        outcome.doubled += compared.doubled
        staged = [path for path in self.settings.staging_folder.rglob("*") if path.is_file()]
        outcome.left += self._pending() + self._letters() + len(staged)
        outcome.reader_errors, outcome.clean_errors, outcome.polls = seen.errors, seen.clean, seen.polls
        at_risk = unsynced(
            [*strace.calls(self._log), *strace.calls(self._second_log)], self.settings.data.folder.absolute()
        )
        outcome.unsynced = len(at_risk)
        outcome.notes.extend(f"acknowledged, and a power cut may still take it: {name}" for name in at_risk)
        if seen.first:
            outcome.notes.append(f"the reader: {seen.first}")


def _has_open(pid: int, path: Path) -> bool:
    """Whether a process has a file or folder open."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            if link.readlink() == path:
                return True
    return False
