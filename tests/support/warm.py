"""Commands without their start: a process that has imported everything forks once for each, as a user's shell would.

Half of what a command costs is Python's start and its imports, and the tests run hundreds. A command that is told
something that counts before Python runs, such as a locale, is a process of its own.
"""

import atexit
import contextlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

_BEFORE_PYTHON = ("PYTHON", "LC_", "LANG", "TERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "PATH", "HOME", "TZ")
_IMPORTED = (
    *(f"candlewick.cli.{name}" for name in ("main", "processes", "audit", "history", "records", "export", "exporting")),
    *(
        f"candlewick.cli.{name}"
        for name in ("dead_letters", "replaying", "following", "status", "symbols", "plotting", "sealing")
    ),
    *("candlewick.backfill.backfill", "candlewick.checks.state", "candlewick.recording.recording", "consumer.writer"),
    *("candlewick.sealing.seal", "candlewick.sealing.verify", "candlewick.sealing.plan"),
    *("consumer.dataset.audit", "consumer.dataset.compact", "consumer.recovery.replay", "producers.producer"),
    *("pandas", "pyarrow.parquet", "httpx", "redis", "uvloop", "rich.progress"),
)


def is_possible(environment: Mapping[str, str]) -> bool:
    """Whether a command may be forked although it is given these variables."""
    return hasattr(os, "fork") and not any(name.startswith(_BEFORE_PYTHON) for name in environment)


class Commands:
    """The process that forks; use it as a context manager."""

    def __enter__(self) -> Self:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-P", "-m", __name__, str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd=Path(__file__).parents[2])
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.wait()

    def run(
        self, arguments: Sequence[str], cwd: Path, environment: Mapping[str, str], timeout: float
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end, as ``subprocess.run`` with captured output does."""
        told = pickle.dumps((arguments, str(cwd), dict(environment)))
        with os.fdopen(os.memfd_create("stdout"), "r+b") as out, os.fdopen(os.memfd_create("stderr"), "r+b") as errors:
            socket.send_fds(self._socket, [told], [out.fileno(), errors.fileno()])
            self._socket.settimeout(timeout + 10)
            self._socket.send(json.dumps(timeout).encode())
            code = json.loads(self._socket.recv(100))
            for file in (out, errors):
                file.seek(0)
            if code is None:
                raise subprocess.TimeoutExpired(arguments, timeout, out.read(), errors.read())
            return subprocess.CompletedProcess(arguments, code, _text(out.read()), _text(errors.read()))


def _text(output: bytes) -> str:
    return output.decode().replace("\r\n", "\n").replace("\r", "\n")


def _serve(connection: socket.socket) -> None:
    while True:
        told, descriptors, *_ = socket.recv_fds(connection, 2**20, 2)
        if not told:
            return
        pid = os.fork()
        if pid == 0:
            connection.close()
            _become(*pickle.loads(told), *descriptors)  # noqa: S301 # our own tests'
        for descriptor in descriptors:
            os.close(descriptor)
        connection.send(json.dumps(_result(pid, json.loads(connection.recv(100)))).encode())


def _result(pid: int, timeout: float) -> int | None:
    """A child's exit code; None when it was killed because it took too long."""

    def kill(*_: Any) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        late.append(True)

    late: list[bool] = []
    signal.signal(signal.SIGALRM, kill)
    signal.setitimer(signal.ITIMER_REAL, timeout)
    try:
        _, status = os.waitpid(pid, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None if late else os.waitstatus_to_exitcode(status)


def _become(arguments: Sequence[str], cwd: str, environment: Mapping[str, str], out: int, errors: int) -> None:
    """Be the command, and end. As at Python's start, output is in blocks, and SIGINT ends it."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, number in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (errors, 2)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    sys.argv = ["candlewick", *arguments]
    code: Any = 1
    try:
        from candlewick.cli.main import main

        main()
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException as error:  # noqa: BLE001 # as Python itself does
        sys.excepthook(type(error), error, error.__traceback__)
    threading._shutdown()  # type: ignore[attr-defined] # as Python itself ends: threads, what was registered, output
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    from importlib import import_module

    for name in _IMPORTED:
        with contextlib.suppress(ModuleNotFoundError):  # an extra that is not installed
            import_module(name)
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        _serve(connection)
