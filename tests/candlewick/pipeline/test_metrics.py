"""The figures of a whole pipeline, against what the exchange sent and what is on disk."""

import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from chaos.whole.truth import control
from shared.market import Market
from tests.support.commands import Start
from tests.support.pipeline import BASE, GROUPS, rows, series_of, write_settings
from tests.support.ports import free_ports
from tests.support.waiting import wait_until

ROLES = (*Market, "writer")


def scraped(port: int) -> dict[tuple[str, ...], float]:
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name.removeprefix("candlewick_"), *sample.labels.values()): sample.value for sample in samples}


def has_received(port: int, market: str, count: float) -> bool:
    return scraped(port)["candles_received_total", market] >= count


def answers(port: int, path: str) -> tuple[int, str]:
    try:
        found = httpx.get(f"http://127.0.0.1:{port}{path}")
    except httpx.ConnectError:
        return 0, ""
    return found.status_code, found.text


def test_figures_agree_with_the_exchange_and_with_the_files(
    start: Start, simulator: Callable[..., str], tmp_path: Path
) -> None:
    address = simulator("--speed", 240, "--start", BASE, "--updates", 1)
    port = free_ports(len(ROLES))
    ports = dict(zip(ROLES, range(port, port + len(ROLES)), strict=True))
    write_settings(tmp_path, address, GROUPS)
    up = start("up", CANDLEWICK_METRICS_PORT=str(port))
    wait_until(lambda: all(answers(one, "/readyz") == (200, "ready\n") for one in ports.values()), 60)
    wait_until(lambda: scraped(ports["writer"]).get(("candles_stored_total", "coin_futures"), 0) >= 5, 60)
    httpx.post(f"{address}/control/drop")
    wait_until(lambda: all(("reconnections_total", one, "lost") in scraped(ports[one]) for one in Market), 30)
    for market in Market:
        figures = scraped(ports[market])
        published = figures["close_to_broker_seconds_count", market]
        assert published > 0
        wait_until(partial(has_received, ports[market], market, published))  # by a later heartbeat
        assert figures["candles_received_total", market] < figures["frames_total", market]
        assert figures["publish_seconds_count", market] > 0
        assert figures["connections_wanted", market] == 1
    assert answers(ports["spot"], "/healthz") == (200, "alive\n")
    assert sum(scraped(ports[one])["candles_received_total", one] for one in Market) <= control(address)["closed"]
    stored = scraped(ports["writer"])
    up.send_signal(signal.SIGTERM)
    assert up.wait(20) == 0
    for market in Market:
        on_disk = [rows(tmp_path / "data" / "candles", one) for one in series_of(GROUPS) if one.market is market]
        assert stored["candles_stored_total", market] > 0  # entries: a candle that came twice counts twice
        newest = max(int(found.times[-1]) for found in on_disk if len(found))
        assert 0 < stored["newest_stored_close_timestamp_seconds", market] * 1000 <= newest + 5 * 60_000
        assert stored["close_to_disk_seconds_count", market] <= stored["candles_stored_total", market]
    assert stored["bytes_written_total",] > 0
    assert stored["files_written_total",] > 0
