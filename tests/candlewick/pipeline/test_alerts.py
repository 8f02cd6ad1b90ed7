"""Each alert that comes with Candlewick fires at a fault of its kind, in a real pipeline, and clears when that is over.

The exchange is the simulator at the world's own time with candles of a second; the rules are in a hurry
(``tests.support.prometheus``). Before a fault, and once it is over, nothing fires but the dead man's switch.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from chaos.proxy import proxy
from shared.broker.keys import Keys
from shared.market import Market
from tests.support.commands import Run, Start
from tests.support.disk import Disk
from tests.support.pipeline import psutil_family, write_settings
from tests.support.ports import free_ports
from tests.support.prometheus import MONITORING, WATCHDOG, Alerts, Prometheus, alert_names
from tests.support.servers import RealServer
from tests.support.waiting import wait_until

SPOT = {"market": "spot", "symbols": ["BTCUSDT", "BNBUSDT"], "intervals": ["1s"]}
FUTURES = [
    {"market": "usdt_futures", "symbols": ["BTCUSDT"], "intervals": ["1m"]},
    {"market": "coin_futures", "symbols": ["BTCUSD_PERP"], "intervals": ["1m"]},
]
WELL = {WATCHDOG}

# What each fault has to make fire, and whom it is about.
EXCHANGE_GONE = {
    ("CandlewickNewestCandleTooOld", "spot"),
    ("CandlewickCandlesMissing", "spot"),
    ("CandlewickRestClosed", "spot"),
}
DISK_FILLS_UP = {("CandlewickDiskFillsUp", "writer")}
DISK_FULL = {
    ("CandlewickDiskNearlyFull", "writer"),
    ("CandlewickEntryWaitsTooLong", "spot"),
    ("CandlewickNotReady", "writer"),
}
BROKER_AWAY = {("CandlewickCandlesRefused", "spot")}
NO_CANDLE = {("CandlewickDeadLetters", "spot")}
WRITER_STOPPED = {("CandlewickTargetDown", "writer"), ("CandlewickNewestCandleTooOld", "spot")}


class Observed:
    """A pipeline and the Prometheus that looks at it. All is well when it is handed out."""

    def __init__(self, prometheus: Prometheus, processes: int) -> None:
        self._prometheus = prometheus
        self._wait(lambda: prometheus.values("sum(candlewick_candles_stored_total) > 0") != [])
        self._wait(lambda: prometheus.values("count(candlewick_ready == 1)") == [processes])
        self.wait_until_well()

    def wait_until_firing(self, alerts: Alerts, meanwhile: Callable[[], object] = tuple) -> None:
        """Do something again and again until all of these fire, whatever else does."""

        def do_fire() -> bool:
            meanwhile()
            return alerts <= self._prometheus.firing()

        self._wait(do_fire)

    def wait_until_well(self) -> None:
        self._wait(lambda: self._prometheus.firing() == WELL)

    @staticmethod
    def _wait(condition: Callable[[], bool]) -> None:
        wait_until(condition, 60)


Observe = Callable[..., Observed]


@pytest.fixture
def observe(start: Start, prometheus: Callable[[Mapping[str, int]], Prometheus], tmp_path: Path) -> Observe:
    """``candlewick up`` on the simulator, and Prometheus on all of its processes."""

    def begin(simulator: str, *groups: dict[str, Any], **sections: dict[str, Any]) -> Observed:
        exchange = {"simulator": simulator, "weight_folder": str(tmp_path / "weight")}  # a ban is for this test alone
        repair = {"grace_seconds": 1, "quiet_seconds": 1}
        write_settings(tmp_path, simulator, list(groups), exchange=exchange, repair=repair, **sections)
        recorded, port = {group["market"] for group in groups}, free_ports(4)
        numbered = enumerate((*Market, "writer"), port)
        ports = {role: number for number, role in numbered if role in recorded | {"writer"}}
        start("up", CANDLEWICK_METRICS_PORT=str(port))
        return Observed(prometheus(ports), len(ports))

    return begin


def test_every_alert_is_made_to_fire_here() -> None:
    made_to_fire = WELL | EXCHANGE_GONE | DISK_FILLS_UP | DISK_FULL | BROKER_AWAY | NO_CANDLE | WRITER_STOPPED
    assert alert_names((MONITORING / "rules.yml").read_text()) == {name for name, _ in made_to_fire}


def test_an_exchange_that_closes_no_candle_and_bans_whoever_asks(
    simulator: Callable[..., str], observe: Observe, short_tmp: Path
) -> None:
    address = simulator("--updates", 1)
    observed = observe(address, SPOT, data={"folder": str(short_tmp / "data")})
    faults = {"no_close": 1, "rest_418": 1, "rest_ban_seconds": 6}
    httpx.patch(f"{address}/control/faults", json=faults).raise_for_status()
    observed.wait_until_firing(EXCHANGE_GONE)
    httpx.patch(f"{address}/control/faults", json=dict.fromkeys(faults)).raise_for_status()
    observed.wait_until_well()


def test_a_disk_that_fills_up_until_it_is_full(
    disk: Disk, make_server: Callable[..., RealServer], simulator: Callable[..., str], observe: Observe
) -> None:
    """The broker is elsewhere and goes on to take what the writer cannot store."""
    disk.remount("size=16m")
    folder, url = str(disk.folder / "data"), make_server().url
    observed = observe(simulator("--updates", 1), SPOT, data={"folder": folder}, broker={"url": url})
    began = time.monotonic()
    observed.wait_until_firing(DISK_FILLS_UP, meanwhile=lambda: disk.take(1 + int(3e5 * (time.monotonic() - began))))
    observed.wait_until_firing(DISK_FULL, meanwhile=disk.fill)
    disk.ballast.unlink()
    observed.wait_until_well()


def test_a_broker_that_is_away_an_entry_that_is_no_candle_and_a_writer_that_is_stopped(
    make_server: Callable[..., RealServer],
    simulator: Callable[..., str],
    observe: Observe,
    candlewick: Run,
    tmp_path: Path,
) -> None:
    server = make_server()
    with proxy(server.port) as between, redis.Redis.from_url(server.url) as client:
        broker = {"url": f"redis://127.0.0.1:{between.port}/0"}
        publisher = {"buffer_candles": 5}
        observed = observe(simulator("--updates", 1), SPOT, *FUTURES, broker=broker, publisher=publisher)
        between.refuse()
        between.cut()
        observed.wait_until_firing(BROKER_AWAY)
        between.heal()
        client.xadd(Keys("candlewick").candles(Market.SPOT), {"no": "candle"})
        observed.wait_until_firing(NO_CANDLE)
        assert candlewick("dead-letters", "drop", "spot", "--all").returncode == 0
        observed.wait_until_well()
        (writer,) = psutil_family(tmp_path, "write")
        writer.suspend()
        observed.wait_until_firing(WRITER_STOPPED)
        writer.resume()
        observed.wait_until_well()
