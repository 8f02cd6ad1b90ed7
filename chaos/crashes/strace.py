"""strace, as the hand that fails one system call of a process that runs, or kills it there.

It is attached to a process that is up, so that only what the process does from then on is counted; strace counts each
call by its name and for each thread alone (strace(1), "Tampering"). Of the four faults

- *killed before*: SIGKILL is delivered when the call is entered, and the kernel leaves the call out: it has not run;
- *killed after*: the call has run and strace holds its thread (``delay_exit``) until the process has been killed;
- EIO and ENOSPC: the call has not run, and returns the error.

What was done is in strace's log, so whoever injected a fault can see which call it was.
"""

import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import NamedTuple

from chaos.waiting import WAIT_SECONDS, NotInTimeError, wait_until

_CALLS = (
    *("?open", "openat", "?mkdir", "mkdirat", "write", "pwrite64", "fsync", "fdatasync"),
    *("?rename", "renameat", "renameat2", "?unlink", "unlinkat", "sendto", "recvfrom"),
)  # with a question mark: names that some machines do not have
_ENTERED = re.compile(r"(?P<thread>\d+) +(?P<name>[a-z]\w*)\((?P<text>.*?)(?: <unfinished \.\.\.>)?$")
_RESUMED = re.compile(r"(?P<thread>\d+) +<\.\.\. \w+ resumed>(?P<text>.*)")
_RESULT = re.compile(r"\) += \d")


class Fault(StrEnum):
    """What happens at a system call."""

    KILLED_BEFORE = "killed before"
    KILLED_AFTER = "killed after"
    EIO = "EIO"
    ENOSPC = "ENOSPC"

    @property
    def kills(self) -> bool:
        """Whether the process is gone afterwards."""
        return self in (Fault.KILLED_BEFORE, Fault.KILLED_AFTER)


_INJECTIONS = {
    Fault.KILLED_BEFORE: "signal=SIGKILL",
    Fault.KILLED_AFTER: f"delay_exit={2 * WAIT_SECONDS:.0f}s",
    Fault.EIO: "error=EIO",
    Fault.ENOSPC: "error=ENOSPC",
}
_TRACES = {Fault.KILLED_AFTER: "(DELAYED)", Fault.EIO: "(INJECTED)", Fault.ENOSPC: "(INJECTED)"}


class Call(NamedTuple):
    """One system call that a process entered.

    Attributes:
        name: such as ``openat``.
        number: from 1: how many of this name its thread had entered since strace was attached.
        text: its arguments, every descriptor with its path, and what it returned, as far as strace knew.
    """

    name: str
    number: int
    text: str

    @property
    def has_run(self) -> bool:
        """Whether it came back without an error; one that its process did not survive is taken not to have run."""
        return _RESULT.search(self.text) is not None


@cache
def refusal() -> str | None:
    """Why strace cannot be used here; None when it can."""
    if sys.platform != "linux":
        return "strace is Linux's"
    if shutil.which("strace") is None:
        return "strace is not installed"
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        with tempfile.TemporaryDirectory() as folder, attached(sleeper.pid, Path(folder) / "strace.log"):
            return None
    except NotInTimeError as error:
        return f"this machine does not let strace attach: {error}"
    finally:
        sleeper.kill()
        sleeper.wait()


@contextlib.contextmanager
def attached(
    pid: int, log: Path, fault: Fault | None = None, call: Call | None = None, injection: str = ""
) -> Iterator[None]:
    """Trace a process and all its threads, and inject a fault where one is given; both end with the context.

    Args:
        pid: the process.
        log: where strace writes; made anew.
        fault: what to inject at ``call``.
        call: its name and number are what counts.
        injection: in place of both, strace's own words, such as ``fsync:signal=SIGSTOP:when=1``.

    Raises:
        NotInTimeError: when strace cannot attach; the text holds its own words.
    """
    command = ["strace", "-f", "-y", "-qq", "-s", "64", "-o", str(log), "-e", f"trace={','.join(_CALLS)}"]
    if fault is not None and call is not None:
        injection = f"{call.name}:{_INJECTIONS[fault]}:when={call.number}"
    if injection:
        command += ["-e", f"inject={injection}"]
    words = log.with_suffix(".stderr")
    with words.open("wb") as output:
        strace = subprocess.Popen(
            [*command, "-p", str(pid)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=output
        )
    try:
        wait_until(lambda: strace.poll() is not None or _is_traced(pid, strace.pid), "strace attaches")
        if strace.poll() is not None:
            raise NotInTimeError(f"strace ended: {words.read_text(errors='replace').strip()}")
        yield
    finally:
        if fault is Fault.KILLED_AFTER:
            strace.kill()  # it would see the delay out, and hold what is left of the process so long
        strace.terminate()  # it lets go of the process; without effect when it ended with the process
        try:
            strace.wait(10)
        except subprocess.TimeoutExpired:
            strace.kill()
            strace.wait()


def happened(log: Path, fault: Fault) -> bool:
    """Whether the fault was injected; of SIGKILL on entering the process itself tells."""
    return _TRACES[fault] in log.read_text(errors="replace")


def calls(log: Path) -> list[Call]:
    """All calls of a log in the order in which they were entered."""
    counts: Counter[tuple[str, str]] = Counter()
    found: list[Call] = []
    newest: dict[str, int] = {}
    for line in log.read_text(errors="replace").splitlines():
        if match := _ENTERED.match(line):
            counts[match["thread"], match["name"]] += 1
            newest[match["thread"]] = len(found)
            found.append(Call(match["name"], counts[match["thread"], match["name"]], match["text"]))
        elif (match := _RESUMED.match(line)) and match["thread"] in newest:
            call = found[newest[match["thread"]]]
            found[newest[match["thread"]]] = call._replace(text=call.text + match["text"])
    return found


def _is_traced(pid: int, tracer: int) -> bool:
    statuses = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return all(f"TracerPid:\t{tracer}\n" in status for status in statuses)
