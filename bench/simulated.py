"""Markets that are recorded from the simulated exchange by ``candlewick up``, for as long as a block lasts."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from shared.market import Market

COMMAND = [sys.executable, "-P", "-m", "candlewick"]
SIZES = {Market.SPOT: 1262, Market.USDT_FUTURES: 550, Market.COIN_FUTURES: 77}
"""How many symbols Binance's markets had when this was written."""

SIX_RECORD = (
    {"market": "usdt_futures", "symbols": ["BTCUSDT", "ETHUSDT"], "intervals": ["1m"]},
    {"market": "coin_futures", "symbols": ["BTCUSD_PERP", "ETHUSD_PERP"], "intervals": ["3m"]},
    {"market": "spot", "symbols": ["BTCUSDT", "BNBUSDT"], "intervals": ["1m"]},
)
"""What ``candlewick up`` records by default."""

SIX_SYMBOLS = {
    Market.USDT_FUTURES: ("BTCUSDT", "ETHUSDT"),
    Market.COIN_FUTURES: ("BTCUSD_PERP", "ETHUSD_PERP"),
    Market.SPOT: ("BTCUSDT", "BNBUSDT"),
}

_QUOTES = {Market.SPOT: "USDT", Market.USDT_FUTURES: "USDT", Market.COIN_FUTURES: "USD_PERP"}
_CONSONANTS, _VOWELS = "BCDFGHJKLMNPRSTVWXZ", "AEIOU"


@dataclass(frozen=True, slots=True)
class Recording:
    """What runs: ``candlewick up``, its data folder, the simulated exchange and its address."""

    up: "subprocess.Popen[bytes]"
    data: Path
    simulator: "subprocess.Popen[str]"
    address: str

    def requests(self) -> dict[str, int]:
        """REST requests that the exchange has counted so far, by pool of weight."""
        weights = httpx.get(f"{self.address}/control").raise_for_status().json()["weights"]
        return {name: int(pool["requests"]) for name, pool in weights.items()}


def symbols(market: Market, count: int) -> list[str]:
    """So many made-up symbols of a market, as long as real ones."""
    found = []
    for number in range(count):
        rest, name = number * 7 + 1, ""
        for letters in (_CONSONANTS, _VOWELS, _CONSONANTS, _VOWELS):
            rest, at = divmod(rest, len(letters))
            name += letters[at]
        found.append(name + _QUOTES[market])
    return found


@contextmanager
def recorded(
    listed: Mapping[Market, Sequence[str]], speed: float = 1.0, record: object = None, **variables: str
) -> Iterator[Recording]:
    """Record from an exchange that lists these symbols, so many times as fast as time.

    What is recorded is ``record``, in the form of the settings, by default ``"*"`` at 1m of every market that lists
    something. ``variables`` are added to the environment.
    """
    folder = Path(tempfile.mkdtemp(prefix="cw-", dir=Path.cwd()))
    record = record or [{"market": market, "symbols": ["*"], "intervals": ["1m"]} for market in listed]
    environment = os.environ | {"CANDLEWICK_RECORD": json.dumps(record), "CANDLEWICK_LOG_LEVEL": "ERROR"} | variables
    lists = [part for market, names in listed.items() for part in ("--symbols", f"{market}:{','.join(names)}")]
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        simulator = subprocess.Popen(
            [*COMMAND, "simulate", "--port", "0", "--speed", str(speed), *lists, "--log-level", "ERROR"],
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(end, simulator)
        assert simulator.stdout is not None  # noqa: S101 # it is a pipe
        address = simulator.stdout.readline().rpartition(" ")[2].strip()
        flags = ["--simulator", address, "--data", str(folder / "data")]
        up = subprocess.Popen([*COMMAND, "up", *flags], env=environment)
        stack.callback(end, up)
        yield Recording(up, folder / "data", simulator, address)


def end(process: "subprocess.Popen[bytes] | subprocess.Popen[str]") -> None:
    """End a process in good order, and wait for it."""
    process.send_signal(signal.SIGTERM)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
