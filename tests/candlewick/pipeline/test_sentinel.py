"""The whole pipeline on a broker that fails over: nothing is missing in the end, and nothing is there twice."""

import re
import signal
from collections.abc import Callable
from pathlib import Path

from chaos.brokers.sentinels import Sentinels
from chaos.brokers.several import running
from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from shared.settings.load import load_settings
from tests.support.commands import Run, Start
from tests.support.pipeline import BASE, rows, write_settings
from tests.support.waiting import wait_until

RECORD = [{"market": "spot", "symbols": ["BTCUSDT", "BNBUSDT"], "intervals": ["1m"]}]
SERIES = Series(Market.SPOT, "BTCUSDT", Interval.M1)


def test_primaries_are_killed_one_with_a_replica_that_lags_and_nothing_is_missing(
    start: Start, simulator: Callable[..., str], candlewick: Run, tmp_path: Path
) -> None:
    with running(Sentinels, tmp_path / "sentinels") as sentinels:
        address = simulator("--speed", 120, "--start", BASE, "--updates", 1)
        broker = {"url": sentinels.url, "timeout_seconds": 2}
        write_settings(tmp_path, address, RECORD, broker=broker)
        root, up = load_settings().candles_folder, start("up")
        wait_until(lambda: len(rows(root, SERIES)) >= 3, 60)
        for is_lagging in (False, True):
            killed, before = sentinels.primary, len(rows(root, SERIES))
            (replica,) = (server for server in sentinels.servers if server is not killed)
            if is_lagging:  # it takes over without what is published now
                replica.end()
                wait_until(lambda before=before: len(rows(root, SERIES)) >= before + 3, 60)  # type: ignore[misc]
            killed.end()
            if is_lagging:
                replica.start_and_wait()
            wait_until(lambda before=before: len(rows(root, SERIES)) >= before + 8, 90)  # type: ignore[misc]
            killed.start_and_wait()
            sentinels.await_whole()
        up.send_signal(signal.SIGTERM)
        assert up.wait(30) == 0
        assert re.search(r"the broker lost \d+ candles", (tmp_path / "log").read_text())
        found = candlewick("audit")
        assert found.returncode == 0, found.stdout + found.stderr
        assert "missing" in found.stdout
