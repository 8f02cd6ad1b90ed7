"""A process that ``candlewick up`` starts, from both sides: how it is started, and how it ends with its supervisor.

Apart from the supervisor, because every command begins with it and help has to be quick.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from candlewick.up.restarts import Restarts

COMMAND = (sys.executable, "-X", "utf8", "-P", "-m", "candlewick")
"""How a process of ours starts another: by this very Python, in UTF-8, not by what lies in the working folder (-P)."""

SUPERVISED = "CANDLEWICK_SUPERVISED"
"""Set for processes whose standard input is the supervisor's pipe. Not a setting."""


def watch_supervisor() -> None:
    """In a supervised process: raise SIGTERM when standard input ends, which it does with the supervisor."""
    if not os.environ.pop(SUPERVISED, None):
        return

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True, name="watch-supervisor").start()


def start_supervised(
    command: Sequence[str], environment: Mapping[str, str], stdout: int | None = None
) -> "subprocess.Popen[bytes]":
    """Start a process that ends with this one, in a session of its own: Ctrl-C does not reach it."""
    variables = os.environ | environment | {SUPERVISED: "1"}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stdout, start_new_session=True, env=variables)


@dataclass(slots=True)
class Child:
    """One process that is to run, and what became of it."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    process: "subprocess.Popen[bytes] | None" = None
    restarts: Restarts = field(init=False)

    def __post_init__(self) -> None:
        self.restarts = Restarts(self.name)

    def start(self) -> None:
        """Start the process."""
        self.restarts.note_start()
        self.process = start_supervised([*COMMAND, *self.arguments], self.environment)

    def send_signal(self, number: signal.Signals) -> None:
        """Send the process a signal, if it lives."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def wait(self) -> None:
        """Wait for the process's end, and close our end of its pipe."""
        if self.process is not None:
            self.process.wait()
            if self.process.stdin is not None:
                self.process.stdin.close()

    @property
    def code(self) -> int | None:
        """Exit code, once it has ended."""
        return None if self.process is None else self.process.poll()
