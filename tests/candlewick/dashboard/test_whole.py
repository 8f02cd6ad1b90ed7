"""The page on a whole pipeline: what the simulated exchange closes is on the chart, and its faults are told."""

import re
import socket
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.async_api import expect

from shared.broker.client import sync_client
from shared.broker.entry import decode_entry
from shared.broker.keys import Keys
from shared.candle import Candle
from shared.market import Market
from shared.settings.load import load_settings
from tests.candlewick.dashboard.conftest import Look, answers
from tests.support.commands import Start
from tests.support.pipeline import BASE, psutil_family, write_settings
from tests.support.ports import free_ports
from tests.support.waiting import wait_until

RECORD = [{"market": "spot", "symbols": ["BTCUSDT"], "intervals": ["1m"]}]
OBSERVE = """
    window.seen = {};
    const box = document.getElementById("chart");
    new MutationObserver(() => {
        window.seen[box.dataset.last] ??= Date.now();
        document.body.dataset.seen = Object.keys(window.seen).length;
    }).observe(box, {attributes: true});
"""


async def test_what_closes_is_on_the_chart_within_two_seconds_and_an_exchange_that_is_gone_is_told(
    start: Start, simulator: Callable[..., str], look: Look, short_tmp: Path, tmp_path: Path
) -> None:
    address = simulator("--speed", 60, "--start", BASE, "--updates", 1)
    write_settings(tmp_path, address, RECORD, data={"folder": str(short_tmp / "data")})
    settings, port = load_settings(), free_ports(1)
    start("up", "--dashboard", CANDLEWICK_DASHBOARD_PORT=str(port))
    wait_until(lambda: answers(f"http://127.0.0.1:{port}"))
    assert f"or open http://127.0.0.1:{port}" in (tmp_path / "log").read_text()
    page = await look(f"http://127.0.0.1:{port}")
    sentence, health = page.locator("#sentence"), page.locator("#health")
    await expect(page.locator("#chart")).to_have_attribute(
        "data-candles", re.compile(r"^([3-9]|\d\d+)$"), timeout=60_000
    )
    await page.evaluate(OBSERVE)
    await expect(page.locator("body")).to_have_attribute("data-seen", re.compile(r"^(1[2-9]|[2-9]\d)$"), timeout=60_000)
    seen = {int(opened): at for opened, at in (await page.evaluate("window.seen")).items()}
    published = publications(settings)
    lags = [at - published[opened] for opened, at in seen.items() if opened in published]
    assert len(lags) >= 12
    assert statistics.median(lags) < 2000, lags  # of a machine that does much else
    await expect(sentence).to_contain_text("Recording 1 series of a simulated exchange; the newest candle closed at")
    await expect(page.get_by_role("article", name="spot")).to_contain_text("simulated")
    (exchange,) = psutil_family(tmp_path, "simulate")
    exchange.kill()
    await expect(sentence).to_contain_text("Not quite well: spot: 0 of 1 connection", timeout=60_000)
    await expect(health).to_have_attribute("data-state", "degraded")
    simulator("--port", address.rpartition(":")[2], "--speed", 60, "--start", "2024-06-30T02:00", "--updates", 1)
    await expect(sentence).to_contain_text("Recording 1 series of a simulated exchange", timeout=90_000)


def test_recording_goes_on_without_a_dashboard_whose_port_is_taken(
    start: Start, simulator: Callable[..., str], short_tmp: Path, tmp_path: Path
) -> None:
    address = simulator("--speed", 60, "--start", BASE, "--updates", 1)
    write_settings(tmp_path, address, RECORD, data={"folder": str(short_tmp / "data")})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        start("up", "--dashboard", CANDLEWICK_DASHBOARD_PORT=str(taken.getsockname()[1]))
        wait_until(lambda: "dashboard is left out" in (tmp_path / "log").read_text(), 60)
        wait_until(lambda: "Record spot BTCUSDT-1m" in (tmp_path / "log").read_text(), 60)
    assert (tmp_path / "log").read_text().count("the dashboard cannot listen on 127.0.0.1") == 1


def publications(settings: Any) -> dict[int, int]:
    """When each candle was published, in UTC ms, by its open time."""
    client: Any = sync_client(settings)
    entries = client.xrange(Keys(settings.broker.prefix).candles(Market.SPOT))
    client.close()
    items = ((number, decode_entry(Market.SPOT, fields)) for number, fields in entries)
    return {item.open_time_ms: int(number.split(b"-")[0]) for number, item in items if isinstance(item, Candle)}
