"""Fixtures of these tests."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.prometheus import Prometheus


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Callable[[Mapping[str, int]], Prometheus]]:
    """Start Debian's Prometheus on processes by their roles and ports."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("Prometheus is not installed")
    running: list[Prometheus] = []

    def begin(ports: Mapping[str, int]) -> Prometheus:
        folder = tmp_path / "prometheus"
        folder.mkdir()
        running.append(Prometheus(binary, folder, ports))
        return running[-1]

    yield begin
    for server in running:
        server.stop()
