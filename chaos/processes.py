"""Processes that may be killed, stopped, woken and started again.

Each runs in a session of its own, so that Ctrl-C reaches only whoever started them. Their output goes into one log.
"""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import Any

import psutil

from chaos.logbook import Logbook

_END_SECONDS = 10.0


class Part:
    """One process of the pipeline, through all its lives.

    Args:
        name: for people.
        command: how it is started.
        logbook: where its output goes.
        options: of ``subprocess.Popen``.

    Attributes:
        due_at: monotonic time from which it is to run; None while it runs.
        ending_since: monotonic time at which it was asked to end; None when it was not.
        is_stopped: whether SIGSTOP holds it.
        may_end: whether the end of this life is no surprise.
    """

    def __init__(self, name: str, command: Sequence[str], logbook: Logbook, **options: Any) -> None:
        self.name = name
        self.due_at: float | None = 0.0
        self.ending_since: float | None = None
        self.is_stopped = self.may_end = False
        self._command = command
        self._logbook = logbook
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def runs(self) -> bool:
        """Whether it lives and nobody has asked it to end."""
        return self.process is not None and self.process.poll() is None and not self.may_end

    @property
    def lives(self) -> bool:
        """Whether it has not ended, asked or not."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Begin a new life."""
        self.due_at = self.ending_since = None
        self.is_stopped = self.may_end = False
        self._close_input()
        log: dict[str, Any] = {"stdout": self._logbook.fd, "stderr": self._logbook.fd}
        self.process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, start_new_session=True, **(log | self._options)
        )

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it lives."""
        if self.process is not None:
            self.process.send_signal(number)

    def kill(self, back_at: float | None) -> None:
        """End it at once; it is due again at a monotonic time, or never."""
        self.may_end, self.due_at = True, back_at
        self.send(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(_END_SECONDS)

    def ask_to_end(self) -> None:
        """SIGTERM: it may take its time."""
        self.may_end, self.ending_since = True, time.monotonic()
        self.send(signal.SIGTERM)

    def stop(self) -> None:
        """SIGSTOP."""
        self.is_stopped = True
        self.send(signal.SIGSTOP)

    def wake(self) -> None:
        """SIGCONT."""
        self.is_stopped = False
        self.send(signal.SIGCONT)

    def limit_files(self, size: int | None) -> None:
        """Let no file that it writes grow beyond ``size`` bytes (EFBIG); None: as long as it likes. Needs no root."""
        if self.process is not None and self.process.poll() is None:
            limit = psutil.RLIM_INFINITY if size is None else size
            psutil.Process(self.process.pid).rlimit(psutil.RLIMIT_FSIZE, (limit, psutil.RLIM_INFINITY))

    def end(self) -> None:
        """End it for good, however it is."""
        self.wake()
        self.kill(None)
        self._close_input()

    def _close_input(self) -> None:
        if self.process is not None:
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    pipe.close()


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without Candlewick's own settings, and some more."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CANDLEWICK_")} | more
