"""Two exchanges and one folder, as a user meets it: refused, unless it is meant."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

from tests.support.commands import Run, Start
from tests.support.pipeline import write_settings
from tests.support.waiting import wait_until

GROUPS = [{"market": "spot", "symbols": ["BTCUSDT"], "intervals": ["1s"]}]


def record(start: Start, tmp_path: Path, *flags: str) -> None:
    """Record until a candle is written."""
    log = tmp_path / "log"
    seen = log.read_text().count("Record ") if log.exists() else 0
    up = start("up", *flags)
    wait_until(lambda: log.read_text().count("Record ") > seen, 60)
    up.send_signal(signal.SIGINT)
    assert up.wait(15) == 0


def test_another_exchange_is_refused_with_one_line_and_a_flag_that_means_it_is_told_everywhere(
    start: Start, simulator: Callable[..., str], candlewick: Run, tmp_path: Path
) -> None:
    first, second = simulator("--seed", 1, "--speed", 5), simulator("--seed", 2, "--speed", 5)
    write_settings(tmp_path, first, GROUPS)
    record(start, tmp_path)
    write_settings(tmp_path, second, GROUPS)
    for command in (
        ("up",),
        ("backfill", "spot", "BTCUSDT", "--interval", "1m", "--from", "2024-06-01"),
        ("audit", "--repair"),
        ("audit", "--against", "rest"),
    ):
        refused = candlewick(*command)
        assert refused.returncode == 2, command
        (line,) = refused.stderr.splitlines()
        assert line.startswith(
            f"candlewick: the store in data has candles of spot from simulated {first}, and these are"
        )
        assert "--data" in line
        assert "--mix-sources" in line
    record(start, tmp_path, "--mix-sources")
    both = f"simulated {first} and simulated {second}"
    assert f"spot: {both}" in candlewick("status").stdout
    assert both in candlewick("audit").stdout
    (found,) = json.loads(candlewick("audit", "--json").stdout)
    assert found["sources"] == [f"simulated {first}", f"simulated {second}"]
    assert both in candlewick("read", "spot", "BTCUSDT", "1s", "--tail", "1").stdout


def test_a_producer_and_a_writer_on_hosts_of_their_own_find_out_from_the_broker(
    start: Start, simulator: Callable[..., str], candlewick: Run, tmp_path: Path, valkey_url: str, prefix: str
) -> None:
    address = simulator("--speed", 5)
    write_settings(tmp_path, address, GROUPS, broker={"url": valkey_url, "prefix": prefix})
    record(start, tmp_path)
    other = candlewick("produce", "spot", "--simulator", "http://127.0.0.1:1")
    assert other.returncode == 2
    assert other.stderr.splitlines()[-1].startswith("candlewick: the broker has candles of spot from simulated")
    (tmp_path / "data" / "ledger" / "market=spot" / "sources.json").write_text('{"sources": ["binance"]}')
    writer = candlewick("write")
    assert writer.returncode == 2
    assert writer.stderr.splitlines()[-1].startswith(
        "candlewick: the store in data has candles of spot from binance, and"
    )
