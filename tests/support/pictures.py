"""``make pictures``: README's pictures of the dashboard and of ``candlewick status``, made from a demonstration.

Each picture is an SVG file: of the terminal as text, of the page as a screenshot inside it.
"""

import asyncio
import base64
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from playwright.async_api import async_playwright
from rich.console import Console
from rich.text import Text

from tests.support.commands import COMMAND
from tests.support.ports import free_ports

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
_SPEED = "240"
_CANDLES = 240  # in the chart
_SIZE = (1360, 1000)
_SHOWN_AS = "~/candlewick"  # in place of the folder that the demonstration runs in
_RENAME = """([from, to]) => {
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) walk.currentNode.data = walk.currentNode.data.replaceAll(from, to);
}"""


def main() -> None:
    """Write every picture anew."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cw-") as name:
        folder, port = Path(name).resolve(), free_ports(5)
        with _demonstration(folder, port):
            asyncio.run(_dashboard(f"http://127.0.0.1:{port}", folder))
            _status(folder)


@contextmanager
def _demonstration(folder: Path, port: int) -> Iterator[None]:
    """A demonstration in a folder, its dashboard at a port."""
    environment = {"CANDLEWICK_DASHBOARD_PORT": str(port), "CANDLEWICK_METRICS_PORT": str(port + 1)}
    command = [*COMMAND, "demo", "--seconds", "0", "--speed", _SPEED]
    with subprocess.Popen(command, cwd=folder, env=os.environ | environment, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


async def _dashboard(address: str, folder: Path) -> None:
    """The page, light and dark, once there is something to see on it."""
    while not _answers(address):
        await asyncio.sleep(0.2)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        width, height = _SIZE
        pages = {}
        for colours in ("light", "dark"):
            page = await browser.new_page(viewport={"width": width, "height": height}, color_scheme=colours)
            await page.goto(f"{address}/#usdt_futures/BTCUSDT/1m")
            pages[colours] = page
        chart = pages["dark"].locator("#chart")
        while int(await chart.get_attribute("data-candles") or 0) < _CANDLES:
            await asyncio.sleep(0.5)
        for colours, page in pages.items():
            await page.evaluate(_RENAME, [str(folder), _SHOWN_AS])
            shot = base64.b64encode(await page.screenshot()).decode()
            image = f'<image width="{width}" height="{height}" href="data:image/png;base64,{shot}"/>'
            frame = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{image}</svg>\n'
            (PICTURES / f"dashboard-{colours}.svg").write_text(frame)
        await browser.close()


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz").is_success
    except httpx.TransportError:
        return False


def _status(folder: Path) -> None:
    """What ``candlewick status`` prints, in a terminal of eighty columns."""
    (data,) = (folder / "demo-data").iterdir()
    time.sleep(1)  # a heartbeat more
    done = subprocess.run([*COMMAND, "status", "--data", data], cwd=folder, capture_output=True, text=True, check=False)
    console = Console(record=True, width=80, file=Path(os.devnull).open("w"))  # noqa: SIM115 # it prints nothing
    text = done.stdout.replace(str(folder), _SHOWN_AS).replace(f"{socket.gethostname()}-", "host-")
    console.print(Text.assemble(("$ candlewick status\n", "bold"), text), soft_wrap=False)
    drawn = console.export_svg(title="candlewick status", unique_id="status")
    without_fonts = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)  # they would be fetched from elsewhere
    (PICTURES / "status.svg").write_text(without_fonts)


if __name__ == "__main__":
    main()
