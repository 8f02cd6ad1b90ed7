"""Several producers of one market share its series: none is recorded by nobody, whoever comes, goes or hangs."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chaos.whole.truth import control, held_by_the_exchange, stored
from shared.broker.heartbeat import heartbeats
from shared.broker.keys import Keys
from shared.settings.load import load_settings
from shared.settings.model import Settings
from tests.support.commands import Run, Start
from tests.support.completeness import audits, is_complete
from tests.support.pipeline import BASE, write_settings
from tests.support.waiting import wait_until

MINUTE_MS = 60_000
GROUPS: list[dict[str, Any]] = [{"market": "spot", "symbols": ["*"], "intervals": ["1m", "3m", "5m"]}]
Process = subprocess.Popen[bytes]


class Hosts:
    """Producers of spot and a writer, and what they say of themselves."""

    def __init__(self, path: Path, address: str, start: Start, client: Any, keys: Keys) -> None:
        self.settings: Settings = load_settings(path)
        self.address = address
        self._path, self._start, self._client, self._keys = path, start, client, keys

    def produce(self) -> Process:
        return self._start("produce", "spot", "--config", self._path)

    def write(self) -> Process:
        return self._start("write", "--config", self._path)

    def said(self, process: Process) -> dict[str, Any]:
        """The last heartbeat of a producer; empty before its first one, and when it is gone."""
        for (role, name), body in heartbeats(self._client, self._keys).items():
            if role == "spot" and name.endswith(f"-{process.pid}"):
                return body
        return {}

    def divide(self, *processes: Process, copies: int = 1) -> bool:
        """Whether these producers have divided all series among themselves."""
        said = [self.said(process) for process in processes]
        if not all(said) or {body["members"] for body in said} != {len(processes)}:
            return False
        wanted = min(int(body["wanted"]) for body in said)
        return wanted > 0 and sum(int(body["series"]) for body in said) == copies * wanted

    def check(self) -> None:
        """Everything from the beginning until now is stored, once and with its values."""
        until_ms = control(self.address)["time_ms"] // MINUTE_MS * MINUTE_MS
        wait_until(lambda: control(self.address)["time_ms"] > until_ms + 3 * MINUTE_MS, 60)
        wait_until(lambda: is_complete(self.settings, 12, until_ms), 60)
        for one in audits(self.settings, until_ms):
            assert one.tally.absent == 0
            truth = held_by_the_exchange(self.address, one.series, one.span.begin_ms, one.span.end_ms)
            got = stored(self.settings.candles_folder, one.series)
            assert {time: row for time, row in got.items() if time < one.span.end_ms} == truth


@pytest.fixture
def hosts(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    simulator: Callable[..., str],
    start: Start,
    valkey_url: str,
    client: Any,
    keys: Keys,
) -> Hosts:
    redundancy, speed, grace_seconds = request.param
    address = simulator("--speed", speed, "--updates", 2, "--start", BASE)
    path = write_settings(
        tmp_path,
        address,
        GROUPS,
        broker={"url": valkey_url, "prefix": keys.prefix},
        repair={"grace_seconds": grace_seconds},
        sharing={"redundancy": redundancy, "lost_seconds": 2},
    )
    return Hosts(path, address, start, client, keys)


@pytest.mark.parametrize("hosts", [(1, 120, 240)], indirect=True)
def test_producers_that_come_die_hang_and_leave_share_all_series_and_none_loses_a_candle(
    hosts: Hosts, candlewick: Run
) -> None:
    hosts.write()
    first = hosts.produce()
    wait_until(lambda: hosts.divide(first), 30)
    second, third = hosts.produce(), hosts.produce()
    wait_until(lambda: hosts.divide(first, second, third), 30)
    status = candlewick("status", "--config", "candlewick.toml").stdout
    assert "3 producers on 1 host share 12 series" in status

    first.kill()
    wait_until(lambda: hosts.divide(second, third), 30)
    second.send_signal(signal.SIGSTOP)
    wait_until(lambda: hosts.divide(third), 30)
    second.send_signal(signal.SIGCONT)
    wait_until(lambda: hosts.divide(second, third), 30)
    fourth = hosts.produce()
    wait_until(lambda: hosts.divide(second, third, fourth), 30)
    taken_over = hosts.said(third)["taken_over"]
    second.terminate()
    assert second.wait(15) == 0
    wait_until(lambda: hosts.divide(third, fourth), 30)
    assert hosts.said(third)["taken_over"] + hosts.said(fourth)["taken_over"] > taken_over
    hosts.check()


@pytest.mark.parametrize("hosts", [(2, 30, 300)], indirect=True)  # ten seconds of grace
def test_with_each_series_recorded_twice_the_death_of_one_costs_no_rest_call(hosts: Hosts) -> None:
    hosts.write()
    producers = [hosts.produce(), hosts.produce()]
    for _ in range(2):
        wait_until(lambda: hosts.divide(*producers, copies=2), 30)
        wait_until(lambda: all(hosts.said(process)["due"] == 0 for process in producers), 30)
        producers.pop(0).kill()
        before = hosts.said(producers[0])
        wait_until(lambda: hosts.divide(*producers), 30)
        after = hosts.said(producers[0])
        assert (after["series"], after["repaired"]) == (before["series"], before["repaired"])
        producers.append(hosts.produce())
    wait_until(lambda: hosts.divide(*producers, copies=2), 30)
    hosts.check()
    assert [hosts.said(process)["repaired"] for process in producers] == [0, 0]
