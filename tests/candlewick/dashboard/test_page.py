"""The page in a real browser: what people see of a recording, and that nothing is lost to them."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from playwright.async_api import Page, expect

from shared.broker.keys import Keys
from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from shared.settings.model import Settings
from tests.candlewick.dashboard.conftest import Look
from tests.support.candles import JUNE_30, MINUTE
from tests.support.pipeline import psutil_family
from tests.support.recorded import Recorded, absent, began, minutes
from tests.support.servers import RealServer

MODULES = Path(__file__).parents[3] / "candlewick" / "dashboard" / "node_modules"
ETH = Series(Market.SPOT, "ETHUSDT", Interval.M1)
CUT_OFF = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE")

Serve = Callable[..., str]


async def drawn(page: Page, candles: int) -> None:
    """Wait until the chart has so many candles."""
    await expect(page.locator("#chart")).to_have_attribute("data-candles", str(candles), timeout=20_000)


async def last(page: Page, minute: int) -> None:
    """Wait until the chart's newest candle opens in that minute."""
    await expect(page.locator("#chart")).to_have_attribute("data-last", str(JUNE_30 + minute * MINUTE), timeout=20_000)


async def test_what_is_stored_is_drawn_and_what_is_published_is_added(
    recorded: Recorded, serve: Serve, look: Look
) -> None:
    recorded.store([began(), *minutes(50)])
    recorded.publish(minutes(2, 50))
    page = await look(serve(recorded))
    await drawn(page, 52)
    recorded.publish(minutes(1, 52))
    await drawn(page, 53)
    await last(page, 52)
    await expect(page.locator("#legend")).to_contain_text("2024-06-30 00:52 UTC")
    await expect(page.locator("#said")).to_contain_text("New candle of BTCUSDT")


async def test_older_candles_come_as_one_scrolls_back(recorded: Recorded, serve: Serve, look: Look) -> None:
    recorded.store([began(), *minutes(2500)])
    page = await look(serve(recorded))
    await drawn(page, 1000)
    await page.locator("#chart").press("Home")
    await drawn(page, 2000)
    await page.locator("#chart").press("Home")
    await drawn(page, 2500)
    await expect(page.locator("#chart")).to_have_attribute("data-first", str(JUNE_30))
    await page.locator("#chart").press("End")
    await expect(page.locator("#legend")).to_contain_text("2024-07-01 17:39 UTC")


async def test_what_is_not_there_keeps_its_place_and_says_why(recorded: Recorded, serve: Serve, look: Look) -> None:
    recorded.store([began(), *minutes(5), absent(5, 2), *minutes(3, 7), *minutes(20, 14)])
    page = await look(serve(recorded))
    await drawn(page, 28)
    gaps = page.locator("#gaps li")
    await expect(gaps).to_have_count(2)
    await expect(gaps.nth(0)).to_contain_text("00:10 UTC missing: 4 candles, until 2024-06-30 00:14 UTC")
    await expect(gaps.nth(1)).to_contain_text("00:05 UTC absent: 2 candles")
    await expect(gaps.nth(1)).to_contain_text("the exchange was asked and does not have it")
    await page.get_by_role("button", name="Table").click()
    await expect(page.locator("#table tr.gap")).to_have_count(2)
    recorded.publish(minutes(4, 10))  # repaired
    await drawn(page, 32)
    await expect(gaps).to_have_count(1)


async def test_candles_in_any_order_are_drawn_and_old_gaps_are_filled(
    recorded: Recorded, serve: Serve, look: Look
) -> None:
    recorded.store([began(), *minutes(500), *minutes(1500, 504), absent(2004, 2), *minutes(2, 2006)])
    page = await look(serve(recorded))
    await drawn(page, 1000)
    await page.locator("#chart").press("Home")
    await drawn(page, 2000)
    await page.locator("#chart").press("Home")
    await drawn(page, 2002)
    gaps = page.locator("#gaps li.missing")
    await expect(gaps).to_contain_text("missing: 4 candles")
    recorded.publish([*minutes(1, 2010), *minutes(1, 2008), *minutes(1, 502), *minutes(1, 2009)])
    await drawn(page, 2006)
    await last(page, 2010)
    await expect(gaps).to_have_count(2)
    recorded.publish([*minutes(2, 500), *minutes(1, 503)])
    await expect(gaps).to_have_count(0)
    recorded.publish([*minutes(2, 2012), absent(2011)])
    await expect(page.locator("#gaps li.absent")).to_have_count(2)


async def test_what_the_server_refuses_is_told_and_an_address_that_is_none_is_left_alone(
    recorded: Recorded, serve: Serve, look: Look
) -> None:
    recorded.store([began(), *minutes(5)])
    address = serve(recorded)
    page = await look(f"{address}/#spott/BTCUSDT/1m", expected=("400",))
    await expect(page.locator("#sentence")).to_contain_text("The dashboard refuses: market 'spott' is not known")
    await expect(page.locator("#sentence")).to_contain_text("Not recording", timeout=20_000)
    await expect(page.locator("#series li")).to_have_count(1)
    page = await look(f"{address}/#%")
    await drawn(page, 5)


async def test_a_broker_that_hangs_is_told_and_what_is_stored_is_shown(
    make_settings: Callable[..., Settings], make_server: Callable[..., RealServer], keys: Keys, serve: Serve, look: Look
) -> None:
    server = make_server()
    client: Any = redis.Redis.from_url(server.url)
    recorded = Recorded(make_settings(broker={"url": server.url}), client, keys)
    recorded.store([began(), *minutes(10), began(ETH), *minutes(20, series=ETH)])
    page = await look(serve(recorded))
    await drawn(page, 20)
    os.kill(server.pid, signal.SIGSTOP)
    await expect(page.locator("#health")).to_have_attribute("data-state", "dead", timeout=30_000)
    await page.locator("#series").press("ArrowDown")
    await drawn(page, 10)
    os.kill(server.pid, signal.SIGCONT)
    recorded.publish(minutes(1, 10))
    await drawn(page, 11)
    recorded.close()
    client.close()


async def test_a_reload_of_the_broker_loses_no_candle(
    make_settings: Callable[..., Settings], make_server: Callable[..., RealServer], keys: Keys, serve: Serve, look: Look
) -> None:
    server = make_server()
    client: Any = redis.Redis.from_url(server.url)
    recorded = Recorded(make_settings(broker={"url": server.url}), client, keys)
    recorded.store([began(), *minutes(10)])
    recorded.publish(minutes(1, 10))
    page = await look(serve(recorded))
    await drawn(page, 11)
    server.kill()
    await expect(page.locator("#health")).to_have_attribute("data-state", "dead", timeout=20_000)
    server.start()
    recorded.publish(minutes(3, 11))
    await drawn(page, 14)
    await last(page, 13)
    server.kill()  # and one that comes back with nothing
    (server.folder / "appendonlydir").rename(server.folder / "lost")
    server.start()
    recorded.store(minutes(4, 11))
    recorded.publish(minutes(1, 15))
    await drawn(page, 16)
    recorded.close()
    client.close()


async def test_a_page_that_loses_its_server_says_so_and_goes_on_where_it_was(
    recorded: Recorded, serve: Serve, look: Look, tmp_path: Path
) -> None:
    recorded.store([began(), *minutes(10)])
    recorded.publish(minutes(1, 10))
    address = serve(recorded)
    page = await look(address, expected=CUT_OFF)
    await drawn(page, 11)
    (server,) = psutil_family(tmp_path, "dashboard")
    server.kill()
    await expect(page.locator("#sentence")).to_contain_text("does not answer", timeout=20_000)
    recorded.publish(minutes(5, 11))
    serve(recorded, port=int(address.rpartition(":")[2]))
    await drawn(page, 16)
    await expect(page.locator("#sentence")).not_to_contain_text("does not answer", timeout=20_000)


async def test_series_are_found_by_typing_and_the_address_keeps_the_choice(
    recorded: Recorded, serve: Serve, look: Look
) -> None:
    recorded.store([began(), *minutes(10), began(ETH), *minutes(20, series=ETH)])
    address = serve(recorded)
    page = await look(address)
    await expect(page.locator("#series li")).to_have_count(2)
    await page.keyboard.press("/")
    await page.keyboard.type("eth")
    await expect(page.locator("#series li:visible")).to_have_count(1)
    await expect(page.locator("#count")).to_have_text("1 of 2")
    await page.keyboard.press("Enter")
    await expect(page.locator("#name")).to_contain_text("ETHUSDT")
    await drawn(page, 20)
    await page.reload()
    await expect(page.locator("#name")).to_contain_text("ETHUSDT")
    await drawn(page, 20)


async def test_the_keyboard_alone_reaches_everything(recorded: Recorded, serve: Serve, look: Look) -> None:
    recorded.store([began(), *minutes(30), began(ETH), *minutes(20, series=ETH)])
    page = await look(serve(recorded))
    await drawn(page, 20)
    reached = []
    for _ in range(12):
        await page.keyboard.press("Tab")
        reached.append(await page.evaluate("document.activeElement.id || document.activeElement.className"))
    for name in ("skip", "zone", "theme", "search", "series", "as-chart", "as-table", "chart"):
        assert name in reached, name
    await page.locator("#series").press("ArrowDown")
    await expect(page.locator("#name")).to_contain_text("BTCUSDT")
    await drawn(page, 30)
    await page.locator("#chart").press("ArrowLeft")
    await page.locator("#chart").press("ArrowLeft")
    await expect(page.locator("#said")).to_contain_text("opened 2024-06-30 00:28 UTC")
    await page.locator("#as-table").press("Enter")
    await expect(page.locator("#table tbody tr")).to_have_count(30)


@pytest.mark.parametrize(("colours", "width"), [("light", 1400), ("dark", 360)])
async def test_axe_finds_no_serious_violation(
    recorded: Recorded, serve: Serve, look: Look, colours: str, width: int
) -> None:
    axe = MODULES / "axe-core" / "axe.min.js"
    if not axe.exists():
        pytest.skip("axe-core is not installed")
    recorded.store([began(), *minutes(5), absent(5, 2), *minutes(3, 7), *minutes(20, 14)])
    page = await look(serve(recorded), color_scheme=colours, viewport={"width": width, "height": 900}, bypass_csp=True)
    await drawn(page, 28)
    await page.add_script_tag(path=axe)
    for view in ("Chart", "Table"):
        await page.get_by_role("button", name=view).click()
        found = await page.evaluate("axe.run()")
        serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in serious] == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= width


async def test_times_are_shown_in_the_zone_that_is_chosen(recorded: Recorded, serve: Serve, look: Look) -> None:
    recorded.store([began(), *minutes(10)])
    page = await look(serve(recorded), timezone_id="Asia/Kolkata")
    await expect(page.locator("#legend")).to_contain_text("2024-06-30 00:09 UTC")
    await page.locator("#zone").select_option("local")
    await expect(page.locator("#legend")).to_contain_text("2024-06-30 05:39 GMT+5:30")
    await page.reload()
    await expect(page.locator("#legend")).to_contain_text("2024-06-30 05:39 GMT+5:30")


async def test_a_symbol_of_any_letters_is_shown(recorded: Recorded, serve: Serve, look: Look) -> None:
    series = Series(Market.USDT_FUTURES, "币安人生USDT", Interval.M1)
    recorded.store([began(series), *minutes(7, series=series)])
    address = serve(recorded)
    page = await look(address)
    await drawn(page, 7)
    await page.reload()
    await drawn(page, 7)
    await expect(page.locator("#name")).to_contain_text("币安人生USDT")


async def test_without_the_charts_library_candles_are_a_table(recorded: Recorded, serve: Serve, look: Look) -> None:
    recorded.store([began(), *minutes(7)])
    page = await look(serve(recorded), without="**/vendor/*", expected=("404",))
    await expect(page.locator("#table tbody tr")).to_have_count(7)
    await expect(page.locator("#build")).to_contain_text("library was not built in")
    recorded.publish(minutes(1, 7))
    await expect(page.locator("#table tbody tr")).to_have_count(8)
