"""The page's own modules: their types, and their unit tests, by the tools of their language."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from candlewick.dashboard.page_files import CHART, page_files

FOLDER = Path(__file__).parents[3] / "candlewick" / "dashboard"


def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not installed")
    return found


def run(*command: object) -> None:
    done = subprocess.run([node(), *map(str, command)], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_their_types_are_right() -> None:
    compiler = FOLDER / "node_modules" / "typescript" / "bin" / "tsc"
    if not compiler.exists():
        pytest.skip("the type checker is not installed: npm was not there when the environment was made")
    run(compiler, "--project", ".")


def test_their_unit_tests_pass() -> None:
    run("--test", *sorted(Path(__file__).parent.glob("*.test.js")))


def test_the_wheel_has_the_page_with_its_chart_and_nothing_of_the_tools(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(build, cwd=FOLDER.parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    assert {f"candlewick/dashboard/page/{name}" for name in page_files()} <= names
    assert not [name for name in names if "node_modules" in name]
    if shutil.which("npm"):
        assert f"candlewick/dashboard/page/{CHART}" in names
