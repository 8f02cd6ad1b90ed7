"""What each process uses, read from outside every few seconds into a file of JSON lines: nothing grows in memory."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

import psutil

from chaos.whole.pipeline import Pipeline

MB = 1_000_000


class Sample(NamedTuple):
    """One process at one moment.

    Attributes:
        at_seconds: since the run began.
        process: its name: a market, ``writer``, ``broker``, ``exchange``, ``soak``.
        pid: which life.
        age_seconds: of that life.
        memory_mb: that it shares with nobody (USS), in millions of bytes; where the system does not tell, all of it.
        resident_mb: all of it (RSS).
        fds: file descriptors.
        threads: its threads.
        cpu_seconds: that this life has used.
    """

    at_seconds: float
    process: str
    pid: int
    age_seconds: float
    memory_mb: float
    resident_mb: float
    fds: int
    threads: int
    cpu_seconds: float


class Watch:
    """Samples of all processes of a pipeline, the exchange and this one.

    Args:
        pipeline: whose.
        file: takes the samples.
    """

    def __init__(self, pipeline: Pipeline, file: TextIO) -> None:
        self._pipeline = pipeline
        self._file = file
        self._known: dict[int, psutil.Process] = {}

    def look(self, at_seconds: float) -> None:
        """Take one sample of each process that runs."""
        parts = (*self._pipeline.parts, self._pipeline.exchange)
        running = {part.process.pid: part.name for part in parts if part.process is not None and part.lives}
        running[os.getpid()] = "soak"
        self._known = {pid: self._known.get(pid) or psutil.Process(pid) for pid in running if psutil.pid_exists(pid)}
        for pid, process in self._known.items():
            try:
                sample = _sample(at_seconds, running[pid].removesuffix(" 1"), process)
            except psutil.Error:  # it has just ended
                continue
            self._file.write(json.dumps(sample) + "\n")
        self._file.flush()


def _sample(at_seconds: float, name: str, process: psutil.Process) -> Sample:
    with process.oneshot():
        memory, cpu = process.memory_full_info(), process.cpu_times()
        return Sample(
            at_seconds=round(at_seconds, 1),
            process=name,
            pid=process.pid,
            age_seconds=round(time.time() - process.create_time(), 1),
            memory_mb=round(getattr(memory, "uss", memory.rss) / MB, 3),
            resident_mb=round(memory.rss / MB, 3),
            fds=process.num_fds(),
            threads=process.num_threads(),
            cpu_seconds=round(cpu.user + cpu.system, 2),
        )


def samples_in(path: Path) -> Iterator[Sample]:
    """The samples of a file, in order; a last line that was cut short is left out."""
    with path.open() as file:
        for line in file:
            if line.endswith("\n"):
                yield Sample(*json.loads(line))
