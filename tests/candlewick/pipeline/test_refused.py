"""An exchange that refuses everything, as some countries meet it: asked ever more slowly, and nobody calls it well."""

import json
import signal
import time
from pathlib import Path
from typing import Any

from tests.support.commands import Run, Start
from tests.support.pipeline import GROUPS, write_settings
from tests.support.refusing import Refusing
from tests.support.waiting import wait_until

SECONDS = 30.0
MOST = 14  # of one client in half a minute: its pauses double from half a second, and are never below a tenth of that


def test_every_client_asks_ever_more_slowly_and_status_and_health_say_why(
    start: Start, candlewick: Run, tmp_path: Path, refusing: Refusing
) -> None:
    address = f"http://127.0.0.1:{refusing.server_port}"
    write_settings(tmp_path, address, [*GROUPS, {"market": "spot", "symbols": ["X*"], "intervals": ["1m"]}])
    began = time.monotonic()
    up = start("up")
    wait_until(lambda: refusing.asked.total() >= 9, 60)
    wait_until(lambda: time.monotonic() - began > SECONDS, 60)
    asked = dict(refusing.asked)
    assert len(asked) >= 6, asked  # time and WebSocket of three markets
    assert max(asked.values()) <= MOST, asked
    assert not any(path.endswith("klines") for path in asked)

    def health() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(candlewick("status", "--json").stdout)["health"]
        return found

    markets = ["spot", "usdt_futures", "coin_futures"]
    wait_until(lambda: [reason.split(":")[0] for reason in health()["reasons"]] == markets, 60)
    assert health()["state"] == "degraded"
    done = candlewick("status")
    assert done.returncode == 1
    first, *_ = done.stdout.splitlines()
    assert first.startswith("degraded: spot: nothing heard from the exchange for ")
    assert "451" in first
    for market in markets:
        done = candlewick("health", market)
        assert done.returncode == 1
        assert done.stdout.startswith("degraded: nothing heard from the exchange for ")
    assert candlewick("health", "writer").returncode == 0

    refusing.asked.clear()
    fetch = ("spot", "BTCUSDT", "--interval", "1m", "--from", "2024-06-01", "--to", "2024-06-02")
    assert candlewick("backfill", *fetch).returncode == 1
    assert candlewick("watch", "spot", "BTCUSDT", "1m").returncode == 2
    assert candlewick("symbols", "list", "spot").returncode == 0
    assert max(refusing.asked.values()) <= MOST

    up.send_signal(signal.SIGINT)
    assert up.wait(15) == 0
