"""Helm on the project's chart: the command where it is installed, else what the package helm-python-sdk brings along.

The package is a Go library; it is loaded by a process of its own, this file's, and not by the tests'.
"""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "charts" / "candlewick"
RELEASE, NAMESPACE = "candlewick", "market-data"

_HELM = shutil.which("helm")
IS_THERE = _HELM is not None or importlib.util.find_spec("helm_python") is not None


class Refused(Exception):  # noqa: N818 # it is no error of ours
    """Helm's own words, why it renders nothing."""


def lint(values: Mapping[str, Any]) -> str:
    """What Helm finds wrong with the chart, by strict rules; empty when nothing."""
    try:
        _helm("lint", values, ["lint", str(CHART), "--strict", "--quiet", "--namespace", NAMESPACE])
    except Refused as refused:
        return str(refused)
    return ""


def render(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The objects that a release with these values has. Refused when there can be none."""
    text = _helm("render", values, ["template", RELEASE, str(CHART), "--namespace", NAMESPACE])
    return [found for found in yaml.safe_load_all(text) if found]


def _helm(what: str, values: Mapping[str, Any], arguments: list[str]) -> str:
    command = [_HELM, *arguments, "--values", "-"] if _HELM else [sys.executable, __file__, what]
    done = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise Refused(done.stdout + done.stderr)
    return done.stdout


def _by_package(what: str, values: dict[str, Any]) -> None:
    import helm_python

    if what == "lint":
        found = helm_python.lint(str(CHART), values, strict=True, namespace=NAMESPACE)
        sys.exit("\n".join(found["errors"]) or 0)
    try:
        with helm_python.Chart.load(str(CHART)) as chart:
            files = chart.render(values, name=RELEASE, namespace=NAMESPACE)
    except helm_python.HelmError as error:
        sys.exit(str(error))
    print("\n---\n".join(text for name, text in files.items() if not name.endswith("NOTES.txt")))


if __name__ == "__main__":
    _by_package(sys.argv[1], json.load(sys.stdin))
