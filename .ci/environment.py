"""Make ``.venv`` with Candlewick in it, or bring it up to date; where all is well, do nothing.

``.ci/environment`` calls this with a Python that is new enough. An environment that another or a removed Python made,
one that was moved here, and half of one are noticed and made anew. What fails or is interrupted leaves no half behind.
"""

import fcntl
import hashlib
import importlib.util
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".venv"
PYTHON = FOLDER / "bin" / "python"
EXTRAS = {"run": "simulator", "dev": "simulator,dev"}

MAKER = f"Python {sys.version_info.major}.{sys.version_info.minor} in {sys.base_prefix}"
_WHO = 'import pip, sys; print(f"Python {sys.version_info.major}.{sys.version_info.minor} in {sys.base_prefix}", end="")'


def stamp(kind: str) -> Path:
    """The file that says for what an environment of this kind was made."""
    return FOLDER / f"candlewick-{kind}"


def wanted() -> str:
    """What the stamp says when nothing is left to do."""
    return f"{MAKER}\n{FOLDER}\n{hashlib.sha256((ROOT / 'pyproject.toml').read_bytes()).hexdigest()}\n"


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
    print(f"make: .venv {reason}; making it anew with {MAKER}" if reason else f"make: creating .venv with {MAKER}")
    shutil.rmtree(FOLDER, ignore_errors=True)
    try:
        venv.EnvBuilder(symlinks=True, with_pip=True).create(FOLDER)
    except BaseException:
        shutil.rmtree(FOLDER, ignore_errors=True)
        raise


def install(kind: str) -> None:
    """Install Candlewick and what this kind needs."""
    print("make: installing Candlewick into .venv", flush=True)
    command = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, "--editable", f"{ROOT}[{EXTRAS[kind]}]"], check=True)


def main(kind: str) -> int:
    """Make what is missing, while no other make does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            make()
            if not stamp(kind).exists() or stamp(kind).read_text() != wanted():
                install(kind)
                for done in (kind, "run"):
                    stamp(done).write_text(wanted())
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"make: .venv cannot be made: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:  # make was told the same and ends with it
            print("make: interrupted; the next make goes on from here", file=sys.stderr)
    return 0


sys.exit(main(*sys.argv[1:]))
