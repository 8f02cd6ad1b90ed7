"""Make an environment with Candlewick in it, or bring it up to date; then become a command of it, if one is given.

``.ci/environment`` calls this with a Python that is new enough. It is ``.venv``, or ``.venv-lowest`` with the oldest
dependencies. One that another or a removed Python made, one that was moved here, and half of one are noticed and made
anew. What fails or is interrupted leaves no half behind.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import venv
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[1]
KIND, *COMMAND = sys.argv[1:]
FOLDER = ROOT / (".venv-lowest" if KIND == "lowest" else ".venv")
PYTHON = FOLDER / "bin" / "python"
EXTRAS = {"run": "simulator,alarm,dashboard", "dev": "dev", "lowest": "dev"}
LOCK = ROOT / "candlewick" / "dashboard" / "package-lock.json"

MAKER = f"Python {sys.version_info.major}.{sys.version_info.minor} in {sys.base_prefix}"
_SHOWN_LINES = 40  # of what pip says from its first error on
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TICK_SECONDS = 0.5
_WHO = (
    'import pip, sys; print(f"Python {sys.version_info.major}.{sys.version_info.minor} in {sys.base_prefix}", end="")'
)


def stamp(kind: str) -> Path:
    """The file that says for what an environment of this kind was made."""
    return FOLDER / f"candlewick-{kind}"


def wanted() -> str:
    """What the stamp says when nothing is left to do."""
    named = (ROOT / "pyproject.toml").read_bytes() + LOCK.read_bytes()
    return f"{MAKER}\n{FOLDER}\n{hashlib.sha256(named).hexdigest()}\n"


def unfit() -> str:
    """Why the environment that is there cannot be used; empty when it can."""
    if Path(sys.prefix) == FOLDER:
        maker = MAKER if importlib.util.find_spec("pip") else ""
    else:
        try:
            maker = subprocess.run([PYTHON, "-c", _WHO], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            maker = ""
    if not maker:
        return "does not work (its Python is gone, or it is half of one)"
    if maker != MAKER:
        return f"was made by {maker}"
    stamps = [path.read_text().split("\n") for path in map(stamp, EXTRAS) if path.exists()]
    if any(lines[0] != MAKER for lines in stamps):
        return "was made by another Python"
    if any(lines[1] != str(FOLDER) for lines in stamps):
        return "was moved here from elsewhere"
    return ""


def make() -> None:
    """Make the environment, empty but for pip."""
    reason = unfit() if FOLDER.exists() else ""
    if FOLDER.exists() and not reason:
        return
    print(
        f"make: {FOLDER.name} {reason}; making it anew with {MAKER}"
        if reason
        else f"make: creating {FOLDER.name} with {MAKER}",
        flush=True,
    )
    shutil.rmtree(FOLDER, ignore_errors=True)
    try:
        venv.EnvBuilder(symlinks=True, with_pip=True).create(FOLDER)
    except BaseException:
        shutil.rmtree(FOLDER, ignore_errors=True)
        raise


def lowest() -> list[str]:
    """Each direct dependency at the lowest version that pyproject.toml allows, and at no other."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = {*project["dependencies"], *extras["simulator"], *extras["dev"]}
    return sorted(requirement.replace(">=", "==") for requirement in named)


def install(kind: str) -> None:
    """Install Candlewick and what this kind needs: by uv, which takes a third of the time, where it can; else by pip.

    Raises:
        OSError: when neither can; what pip said from its first error on is printed before.
    """
    print(f"make: installing Candlewick into {FOLDER.name}; the first time may take a minute or two", flush=True)
    began = time.monotonic()
    packages = ["--editable", f"{ROOT}[{EXTRAS[kind]}]", *(lowest() if kind == "lowest" else ())]
    uv = [str(PYTHON), "-m", "uv", "pip", "install", "--compile-bytecode", "--python", str(PYTHON)]
    pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    if run([*pip, "--quiet", "uv"]) or run([*uv, *packages]):
        print("make: uv cannot do it here; pip does, more slowly", flush=True)
        said: deque[str] = deque(maxlen=_SHOWN_LINES)
        if run([*pip, *packages], said):
            sys.stderr.writelines(said)
            raise OSError("pip could not install what it needs; its own words are above")
    npm = shutil.which("npm") if kind == "dev" else None  # the page's type checker, and what its tests need
    if npm and subprocess.run([npm, "ci", "--silent"], cwd=LOCK.parent, check=False).returncode:
        print("make: npm could not fetch what tests of the dashboard's page need: they are skipped")
    print(f"make: installed in {time.monotonic() - began:.0f} s", flush=True)


def run(command: list[str], said: "deque[str] | None" = None) -> int:
    """Run a command that installs; its exit code.

    What it does is shown, on a terminal as one line that changes, else as a line a step. ``said`` gets what it says
    from its first error on.
    """
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        progress = Progress()
        for line in lines_or_ticks(process.stdout):
            progress.show(line)
            if said is not None and (said or line.strip().lower().startswith("error")):  # the rest is routine
                said.append(line)
        progress.end()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):  # the command and what it started
            os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.wait()


def lines_or_ticks(stream: "IO[bytes] | None") -> Iterator[str]:
    """Lines of a process as they come, and an empty one now and then while none does."""
    assert stream is not None  # noqa: S101 # it is a pipe
    rest = b""
    while True:
        if not select.select([stream], [], [], _TICK_SECONDS)[0]:
            yield ""
            continue
        read = os.read(stream.fileno(), 65536)
        if not read:
            return
        *lines, rest = (rest + read).split(b"\n")
        yield from (f"{line.decode(errors='replace')}\n" for line in lines)


class Progress:
    """What uv or pip does just now."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._step = "asking for the list of packages"
        self._found = 0
        self._line = ""

    def show(self, said: str) -> None:
        """Take a line that pip said, or none, and show the step that it means."""
        before = self._step
        if said.startswith("Collecting "):
            self._found += 1
            self._step = "fetching packages"
        elif said.startswith("Resolved "):
            self._step = f"fetching {said.split()[1]} packages"
        elif said.startswith("Prepared "):
            self._step = "unpacking packages"
        elif said.startswith("Installing collected packages"):
            self._step = f"unpacking {said.count(',') + 1} packages"
        elif said.startswith("WARNING: Retrying"):
            self._step = "the package index does not answer; asking again"
        if sys.stdout.isatty():
            count = f" ({self._found})" if self._step == "fetching packages" else ""
            line = f"  {self._step}{count}, {time.monotonic() - self._began:.0f} s"
            print(f"\r{line:<{len(self._line)}}", end="", flush=True)
            self._line = line
        elif self._step != before:
            print(f"  {self._step}", flush=True)

    def end(self) -> None:
        """Leave the line."""
        if sys.stdout.isatty():
            print(f"\r{'':<{len(self._line)}}\r", end="", flush=True)


def interrupt(*_: object) -> None:
    """Take the first signal, and no echo of it: a terminal, make and whoever stops make may each send one."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main(kind: str, *command: str) -> int:
    """Make what is missing, while no other make does; then become the command, if there is one."""
    for number in _SIGNALS:
        signal.signal(number, interrupt)
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            make()
            if not stamp(kind).exists() or stamp(kind).read_text() != wanted():
                install(kind)
                stamp(kind).write_text(wanted())
                if kind == "dev":
                    stamp("run").write_text(wanted())
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"make: {FOLDER.name} cannot be made: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:  # make was told the same and ends with it
            print("\nmake: interrupted; the next make goes on from here", file=sys.stderr)
            return 0
    if command:
        os.execv(FOLDER / "bin" / command[0], command)  # noqa: S606 # no shell is wanted
    return 0


sys.exit(main(KIND, *COMMAND))
