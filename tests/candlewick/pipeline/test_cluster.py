"""The whole pipeline on a Redis Cluster: nothing is missing in the end, and nothing is there twice."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

from chaos.brokers.cluster import Cluster
from chaos.brokers.several import running
from shared.broker.keys import Keys
from shared.market import Market
from shared.settings.load import load_settings
from tests.support.commands import Run, Start
from tests.support.pipeline import BASE, GROUPS, rows, series_of, write_settings
from tests.support.waiting import wait_until

MARKETS = (Market.SPOT, Market.COIN_FUTURES)


def test_primaries_are_killed_and_come_back_and_every_command_works_on_what_is_left(
    start: Start, simulator: Callable[..., str], candlewick: Run, tmp_path: Path
) -> None:
    with running(Cluster, tmp_path / "cluster") as cluster:
        address = simulator("--speed", 120, "--start", BASE, "--updates", 1)
        write_settings(tmp_path, address, GROUPS, broker={"url": cluster.url, "timeout_seconds": 2})
        root, up, keys = load_settings().candles_folder, start("up"), Keys(load_settings().broker.prefix)
        every = series_of(GROUPS)
        wait_until(lambda: all(len(rows(root, series)) >= 2 for series in every), 90)
        for market in MARKETS:
            killed = cluster.owner(keys.candles(market))
            before = {series: len(rows(root, series)) for series in every}
            killed.end()
            wait_until(lambda: all(len(rows(root, one)) >= before[one] + 4 for one in every), 90)  # noqa: B023
            killed.start_and_wait()
            cluster.await_whole()
        status = json.loads(candlewick("status", "--json").stdout)
        assert status["markets"].keys() == {market.value for market in Market}
        for command in (("check",), ("dead-letters", "list"), ("symbols", "list", "spot"), ("health", "writer")):
            done = candlewick(*command)
            assert done.returncode == 0, done.stdout + done.stderr
        up.send_signal(signal.SIGTERM)
        assert up.wait(30) == 0
        found = candlewick("audit")
        assert found.returncode == 0, found.stdout + found.stderr
        again = candlewick("replay", "--into", "again")
        assert again.returncode == 0, again.stderr
        assert "Traceback" not in (tmp_path / "log").read_text()
