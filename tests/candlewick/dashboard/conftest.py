"""A dashboard over a recording of the test's own, and a real browser that looks at it."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from playwright.async_api import Page, async_playwright

from tests.support.commands import Start
from tests.support.ports import free_ports
from tests.support.recorded import Recorded
from tests.support.waiting import wait_until

Look = Callable[..., Awaitable[Page]]


@pytest.fixture
def serve(start: Start) -> Callable[..., str]:
    """Start a dashboard over a recording; its address."""

    def begin(recorded: Recorded, *flags: object, port: int | None = None) -> str:
        broker, port = recorded.settings.broker, port or free_ports(1)
        environment = {"CANDLEWICK_BROKER_URL": broker.url, "CANDLEWICK_BROKER_PREFIX": broker.prefix}
        environment["CANDLEWICK_BROKER_TIMEOUT_SECONDS"] = "1"  # one that hangs is waited for as long
        start("dashboard", "--data", recorded.settings.data.folder, "--port", port, *flags, **environment)
        address = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(address))
        return address

    return begin


def answers(address: str) -> bool:
    """Whether a server is there."""
    try:
        return httpx.get(f"{address}/healthz").is_success
    except httpx.TransportError:
        return False


@pytest.fixture
async def look() -> AsyncIterator[Look]:
    """Open a page in Chromium; what it complains of and is not ``expected``, or asks elsewhere, fails the test.

    What ``without`` fits is not found.
    """
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if binary is None:
        pytest.skip("Chromium is not installed")
    complaints: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])

        async def begin(
            address: str, *, expected: tuple[str, ...] = (), without: str | None = None, **context: Any
        ) -> Page:
            host = address.split("/")[2]
            page = await (await browser.new_context(**context)).new_page()
            if without is not None:
                await page.route(without, lambda route: route.fulfill(status=404))

            def complain(text: str) -> None:
                if not any(part in text for part in expected):
                    complaints.append(text)

            page.on("console", lambda said: complain(said.text) if said.type in ("error", "warning") else None)
            page.on("pageerror", lambda error: complain(str(error)))
            page.on("request", lambda asked: complain(asked.url) if asked.url.split("/")[2] != host else None)
            await page.goto(address)
            return page

        yield begin
        await browser.close()
    assert complaints == []
