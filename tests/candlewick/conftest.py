"""The command itself, run as a user runs it; whatever it started is gone when the test ends."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[bytes]"]

COMMAND = [sys.executable, "-P", "-m", "candlewick"]


@pytest.fixture(autouse=True)
def _sockets_in_a_folder_of_their_own(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded broker's socket goes among the temporary files when the test's own folder is too long for it."""
    monkeypatch.setenv("TMPDIR", str(short_tmp))
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.fixture
def candlewick(tmp_path: Path) -> Run:
    """Run a command to its end."""

    def run(*arguments: object, cwd: Path = tmp_path, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            cwd=cwd,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a command and let it run; its log is ``log`` in the test's folder."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(*arguments: object, stdout: Any = subprocess.DEVNULL, **environment: str) -> "subprocess.Popen[bytes]":
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen(
                [*COMMAND, *map(str, arguments)],
                cwd=tmp_path,
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=log,
                start_new_session=True,
            )
        running.append(process)
        return process

    yield begin
    for process in running:
        family = _family(process.pid)
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout is not None:
            process.stdout.close()
        for member in family:
            if member.is_running():
                member.send_signal(signal.SIGKILL)
    for orphan in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if orphan.pid != os.getpid() and Path(orphan.cwd()).is_relative_to(tmp_path):
                orphan.kill()


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@pytest.fixture
def simulator(start: Start) -> Callable[..., str]:
    """Start the simulated exchange as a process of its own; its address."""

    def begin(*arguments: object) -> str:
        process = start("simulate", "--port", 0, *arguments, stdout=subprocess.PIPE)
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.startswith("simulated exchange at http://"), line
        return line.removeprefix("simulated exchange at ").strip()

    return begin
