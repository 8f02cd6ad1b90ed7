"""What trials have in common: one writer, what is published for it, and what has to become of that.

Some rows are stored; a writer runs; candles and notes are published at once (``scenario``); a fault happens. A writer
that lives on must bring everything to storage by itself and stop in good order; then, and after a kill, a new one is
started and stopped.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import redis

from chaos.crashes.scenario import facts, facts_before
from chaos.waiting import NotInTimeError, wait_until
from consumer.dataset.dataset import Dataset
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


class Trial:
    """One writer, and one that is started after it.

    Args:
        broker: URL of a broker.
        folder: an empty folder, for data and logs; its name is the prefix of the keys.
        flags: settings, besides.
        environment: of the writers, besides.
    """

    def __init__(
        self,
        broker: str,
        folder: Path,
        flags: Mapping[str, Mapping[str, Any]],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        common: dict[str, dict[str, Any]] = {
            "broker": {"url": broker, "prefix": folder.name},
            "data": {"folder": folder / "data"},
            "log": {"level": "WARNING"},
        }
        wanted = {name: common.get(name, {}) | dict(flags.get(name, {})) for name in common | dict(flags)}
        self.settings: Settings = load_settings(flags=wanted)
        self._folder = folder
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)} | {
            f"{ENV_PREFIX}{section}_{key}".upper(): str(value)
            for section, values in wanted.items()
            for key, value in values.items()
        }
        self._environment |= environment or {}
        self._client = sync_client(self.settings)
        self._keys = Keys(folder.name)

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

    def _publish(self, items: Sequence[Candle | SeriesFact]) -> None:
        """All at once, so that one flush takes them all."""
        pipeline = self._client.pipeline(transaction=True)
        for item in items:
            fields: dict[Any, Any] = dict(encode_entry(item))
            pipeline.xadd(self._keys.candles(item.series.market), fields)
        pipeline.execute()

    def _await_recovery(self, writer: "subprocess.Popen[bytes]", outcome: Outcome) -> None:
        """Until the writer has emptied the pending list, by itself."""
        try:
            wait_until(lambda: writer.poll() is not None or self._pending() == 0, "the pending list is empty", 20)
        except NotInTimeError as error:
            outcome.left += 1
            outcome.notes.append(str(error))

    def _await_death(self, writer: "subprocess.Popen[bytes]") -> None:
        """Until a writer that was killed is gone. NotInTimeError when it ended by itself."""
        wait_until(lambda: writer.poll() is not None, "the killed writer is gone")
        if writer.returncode != -signal.SIGKILL:
            raise NotInTimeError(f"the writer ended by itself with {writer.returncode}; see {self._folder}")

    def _stop(self, writer: "subprocess.Popen[bytes]", outcome: Outcome) -> None:
        """Stop it in good order."""
        writer.send_signal(signal.SIGTERM)
        wait_until(lambda: writer.poll() is not None, f"a writer stops; see {self._folder}")
        if writer.returncode != 0:
            outcome.left += 1
            outcome.notes.append(f"a writer ended with {writer.returncode}; see {self._folder}")

    def _letters(self) -> int:
        return sum(int(self._client.xlen(self._keys.dead_letters(market))) for market in Market)

    def _metadata_lost(self) -> int:
        dataset, expected = Dataset.of(self.settings), dict[Series, SeriesMetadata]()
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
