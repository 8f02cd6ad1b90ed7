"""Debian's Prometheus scrapes a pipeline, and the rules that come with Candlewick are true."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.broker.address import embedded_socket
from shared.broker.client import sync_client
from shared.broker.keys import Keys
from shared.market import Market
from shared.settings.load import load_settings
from tests.support.commands import Run, Start
from tests.support.pipeline import BASE, GROUPS, write_settings
from tests.support.ports import free_ports
from tests.support.waiting import wait_until

MONITORING = Path(__file__).parents[3] / "monitoring"


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed")
    return found


@pytest.mark.parametrize("question", [("check", "rules", "rules.yml"), ("test", "rules", "rules_test.yml")])
def test_promtool_accepts_the_rules_and_each_alert_fires_when_it_should(
    promtool: str, question: tuple[str, ...]
) -> None:
    done = subprocess.run([promtool, *question], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_test_and_every_figure_that_is_asked_for_exists() -> None:
    rules, tests = ((MONITORING / name).read_text() for name in ("rules.yml", "rules_test.yml"))
    alerts = set(re.findall(r"alert: (\w+)", rules))
    fired = {part.split()[0] for part in tests.split("alertname: ")[1:] if "exp_labels" in part}
    assert alerts == fired
    root = MONITORING.parent
    known = "".join((root / name / "figures.py").read_text() for name in ("producers", "consumer"))
    known += (root / "shared" / "metrics" / "server.py").read_text()
    dashboard = (MONITORING / "grafana" / "dashboards" / "candlewick.json").read_text()
    for name in set(re.findall(r"candlewick_(\w+?)(?:_total|_bucket)?\b", rules + dashboard)):
        assert f'"{name}"' in known, name


def test_the_dashboard_is_one_that_grafana_can_load() -> None:
    found = json.loads((MONITORING / "grafana" / "dashboards" / "candlewick.json").read_text())
    assert found["uid"] == "candlewick"
    places = [panel["gridPos"] for panel in found["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert len({panel["id"] for panel in found["panels"]}) == len(places)


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Callable[[int], str]]:
    """Start Debian's Prometheus on the processes of ``up`` from a port on; its address."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("Prometheus is not installed")
    running: list[subprocess.Popen[bytes]] = []

    def begin(first: int) -> str:
        text = (MONITORING / "prometheus.yml").read_text()
        for number, host in enumerate(("spot", "usdt-futures", "coin-futures", "writer")):
            text = re.sub(rf'"{host}:\d+"', f'"127.0.0.1:{first + number}"', text)
        text = text.replace("15s", "1s").replace("rules.yml", str(MONITORING / "rules.yml"))
        (tmp_path / "prometheus.yml").write_text(text)
        address = f"127.0.0.1:{free_ports(1)}"
        options = [f"--web.listen-address={address}", f"--storage.tsdb.path={tmp_path / 'tsdb'}"]
        command = [binary, f"--config.file={tmp_path / 'prometheus.yml'}", *options]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return f"http://{address}/api/v1"

    yield begin
    for process in running:
        process.kill()
        process.wait()


def test_prometheus_has_the_figures_and_an_alert_fires_and_clears(
    start: Start, simulator: Callable[..., str], candlewick: Run, prometheus: Callable[[int], str], short_tmp: Path
) -> None:
    address = simulator("--speed", 120, "--start", BASE, "--updates", 1)
    write_settings(Path.cwd(), address, GROUPS, data={"folder": str(short_tmp / "data")})
    settings, port = load_settings(), free_ports(4)
    up = start("up", CANDLEWICK_METRICS_PORT=str(port))
    asked = prometheus(port)

    def answer(path: str, **question: str) -> Any:
        try:
            return httpx.get(f"{asked}/{path}", params=question).json()["data"]
        except (httpx.HTTPError, ValueError):
            return {"result": [], "alerts": []}

    def values(query: str) -> list[float]:
        return [float(one["value"][1]) for one in answer("query", query=query)["result"]]

    def firing() -> set[str]:
        return {one["labels"]["alertname"] for one in answer("alerts")["alerts"] if one["state"] == "firing"}

    wait_until(lambda: values("sum(candlewick_candles_stored_total) > 10") != [], 90)
    wait_until(lambda: values("count(candlewick_ready == 1)") == [4.0], 60)
    wait_until(lambda: firing() == {"CandlewickWatchdog"}, 60)
    client: Any = sync_client(settings)
    assert embedded_socket(settings).exists()
    client.xadd(Keys(settings.broker.prefix).candles(Market.SPOT), {"no": "candle"})
    client.close()
    wait_until(lambda: "CandlewickDeadLetters" in firing(), 60)
    assert candlewick("dead-letters", "drop", "spot", "--all").returncode == 0
    wait_until(lambda: firing() == {"CandlewickWatchdog"}, 60)
    up.terminate()
    assert up.wait(20) == 0
