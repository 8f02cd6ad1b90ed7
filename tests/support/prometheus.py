"""Debian's Prometheus on the processes of a pipeline, with the rules that come with Candlewick, in a hurry."""

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.support.ports import free_ports

MONITORING = Path(__file__).parents[2] / "monitoring"

Alerts = set[tuple[str, str]]
"""Names of alerts, each with the market or the process that it is about."""

WATCHDOG = ("CandlewickWatchdog", "")
"""What fires for as long as alerts are evaluated."""

_UNIT_MS = {"m": 333, "h": 1000}
_HURRIED = {"> 300 +": "> 5 +", "> 180": "> 3", "* 86400": "* 24", "< 5e9": "< 5e6"}
_HOSTS = {"spot": "spot", "usdt-futures": "usdt_futures", "coin-futures": "coin_futures", "writer": "writer"}


def alert_names(rules: str) -> set[str]:
    """The names of all alerts in a file of rules."""
    return set(re.findall(r"alert: (\w+)", rules))


def in_a_hurry(rules: str) -> str:
    """Rules in which an hour lasts a second, a minute a third of one, and a gigabyte is a megabyte.

    So ``for: 15m`` becomes ``for: 4995ms`` and ``[6h]`` becomes ``[6000ms]``; a range of days, the memory of what is
    gone, stays. Numbers of seconds and bytes in expressions are those of a table. Nothing else is changed.
    """
    rules = re.sub(r"(for: |\[)(\d+)([mh])\b", lambda found: f"{found[1]}{int(found[2]) * _UNIT_MS[found[3]]}ms", rules)
    for as_it_is, hurried in _HURRIED.items():
        assert rules.count(as_it_is) == 1, f"{as_it_is!r} is not in the rules any more, or twice"
        rules = rules.replace(as_it_is, hurried)
    return rules


class Prometheus:
    """A server that scrapes and evaluates every second, until it is stopped.

    Args:
        binary: of Prometheus.
        folder: a folder of its own, for its configuration and what it stores.
        ports: where the processes of the pipeline are, by their roles.
    """

    def __init__(self, binary: str, folder: Path, ports: Mapping[str, int]) -> None:
        (folder / "rules.yml").write_text(in_a_hurry((MONITORING / "rules.yml").read_text()))
        text = (MONITORING / "prometheus.yml").read_text().replace("15s", "1s")
        named = set(re.findall(r"names: \[([\w-]+)\]", text))
        assert named == _HOSTS.keys(), "a target a role"
        targets = [f"127.0.0.1:{ports[role]}" for role in _HOSTS.values() if role in ports]
        text = re.sub(
            r"dns_sd_configs:.*", f"static_configs: [{{targets: {json.dumps(targets)}}}]", text, flags=re.DOTALL
        )
        (folder / "prometheus.yml").write_text(text)
        self._roles = {f"127.0.0.1:{port}": role for role, port in ports.items()}
        listen = f"127.0.0.1:{free_ports(1)}"
        options = [f"--web.listen-address={listen}", f"--storage.tsdb.path={folder / 'tsdb'}"]
        command = [binary, f"--config.file={folder / 'prometheus.yml'}", *options]
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        self._address = f"http://{listen}/api/v1"

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def values(self, query: str) -> list[float]:
        """The values of a query's answer; none while there is no answer."""
        return [float(one["value"][1]) for one in self._answer("query", query=query).get("result", ())]

    def firing(self) -> Alerts:
        """Alerts that fire now."""
        alerts = self._answer("alerts").get("alerts", ())
        return {(one["labels"]["alertname"], self._whom(one["labels"])) for one in alerts if one["state"] == "firing"}

    def _whom(self, labels: Mapping[str, str]) -> str:
        return labels.get("market") or self._roles.get(labels.get("instance", ""), "")

    def _answer(self, path: str, **question: str) -> Any:
        try:
            return httpx.get(f"{self._address}/{path}", params=question).json()["data"]
        except (httpx.HTTPError, ValueError, KeyError):  # it has just been started
            return {}
