"""The page's own modules: their types, and their unit tests, by the tools of their language."""

import shutil
import subprocess
from pathlib import Path

import pytest

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
