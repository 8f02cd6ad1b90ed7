"""An environment of their own for the libraries that Candlewick is compared with: ``.venv-peers``, made when needed."""

import subprocess
import sys
from pathlib import Path

_FOLDER = Path(".venv-peers")
_INSTALL_SECONDS = 600


def python_with(package: str) -> Path:
    """A Python that has the newest version of a package, installed if it is not there yet.

    Raises:
        RuntimeError: when it cannot be installed, with the installer's last word.
    """
    python = _FOLDER / "bin" / "python"
    if not python.exists():
        _run(sys.executable, "-m", "venv", str(_FOLDER))
    look = f"import importlib.metadata as metadata; metadata.version({package!r})"
    if subprocess.run([python, "-c", look], capture_output=True, check=False).returncode:
        _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package)
    return python.absolute()


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"it took longer than {_INSTALL_SECONDS} s to install") from None
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2])
