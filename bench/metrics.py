"""What being scraped costs: the CPU of a market's producer and writer, with a scrape of each every fifteen seconds.

The market runs at its own speed. First nobody scrapes, for whole minutes; then each process is scraped as often as it
answers, for what one scrape costs. Counting itself is part of both; ``bench publish`` has it.
"""

import time
from collections.abc import Callable

import httpx
import psutil

from bench.market import watch
from bench.result import Result
from bench.simulated import recorded, symbols
from bench.usage import processes
from shared.market import Market

_SYMBOLS = 400
_PORT = 19_750
_PORTS = {"producer spot": _PORT, "writer": _PORT + 3}
_QUIET_SECONDS = 120.0  # whole minutes: the work comes at their ends
_SCRAPES = 3000
_SCRAPED_EVERY_SECONDS = 15.0


def run() -> list[Result]:
    """Record, and look at one process after the other."""
    listed = {Market.SPOT: symbols(Market.SPOT, _SYMBOLS)}
    with recorded(listed, CANDLEWICK_METRICS_PORT=str(_PORT)) as recording:
        watch(recording.up.pid, recording.data, _SYMBOLS)
        running = processes(recording.up.pid, recording.data)
        quiet = _used(running, lambda: time.sleep(_QUIET_SECONDS))
        floors = {name: quiet[name] / _QUIET_SECONDS for name in _PORTS}
        return [
            Result(
                f"{name} of {_SYMBOLS} series, scraped every {_SCRAPED_EVERY_SECONDS:g} s; without",
                "ms CPU a second",
                floors[name] + _one_scrape(running, name, floors[name]) / _SCRAPED_EVERY_SECONDS,
                floors[name],
                aim=1.03,
            )
            for name in _PORTS
        ]


def _one_scrape(running: dict[str, psutil.Process], name: str, floor: float) -> float:
    """What a scrape takes of a process, in ms CPU, beyond what it takes anyway."""
    began = time.monotonic()
    with httpx.Client() as client:

        def scrape() -> None:
            for _ in range(_SCRAPES):
                client.get(f"http://127.0.0.1:{_PORTS[name]}/metrics").raise_for_status()

        used = _used(running, scrape)[name]
    return max(0.0, used - floor * (time.monotonic() - began)) / _SCRAPES


def _used(running: dict[str, psutil.Process], work: Callable[[], None]) -> dict[str, float]:
    """What each process takes while something is done, in ms CPU."""
    before = {name: process.cpu_times() for name, process in running.items()}
    work()
    after = {name: process.cpu_times() for name, process in running.items()}
    return {name: 1000 * (sum(after[name][:2]) - sum(before[name][:2])) for name in running}
