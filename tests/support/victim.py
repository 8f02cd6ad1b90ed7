"""A process that meets a hostile exchange: it says on its standard output what it got and how much memory it took.

python -m tests.support.victim listen ADDRESS LAST       candles from a WebSocket until one opens in minute LAST
python -m tests.support.victim ask ADDRESS FOLDER        one klines request over REST
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from producers.exchange.page import next_page
from producers.exchange.rest import RestClient
from producers.exchange.weight import WeightBudget
from producers.live.connections import CandleListener
from shared.candle import Candle, Series
from shared.errors import RestRefusedError, RestUnavailableError
from shared.interval import MINUTE_MS, Interval
from shared.market import Market
from shared.settings.sections import ExchangeSettings

SERIES = Series(Market.SPOT, "BTCUSDT", Interval.M1)


async def listen(address: str, last: str) -> dict[str, Any]:
    """Record until the last candle is there; the minutes that came, and what the connections saw."""
    minutes: list[int] = []
    done = asyncio.Event()

    def take(candle: Candle) -> None:
        minutes.append(candle.open_time_ms // MINUTE_MS)
        if minutes[-1] == int(last):
            done.set()

    settings = ExchangeSettings(simulator=address, retry_max_seconds=0.2, silence_timeout_seconds=60.0)
    async with CandleListener(SERIES.market, settings, take) as listener:
        await listener.add_series([SERIES])
        async with asyncio.timeout(80):
            await done.wait()
    counters = listener.counters
    return {"minutes": minutes, "replaced": counters.replaced.total(), "malformed": counters.malformed, "failed": False}


async def ask(address: str, folder: str) -> dict[str, Any]:
    """Ask once; which of the two errors or the answer came."""
    settings = ExchangeSettings(simulator=address, weight_folder=folder, rest_timeout_seconds=2.0)
    rest = RestClient(SERIES.market, settings, WeightBudget(SERIES.market, settings))
    try:
        answer = await rest.klines(SERIES, next_page(SERIES, 0, 10 * MINUTE_MS), 20 * MINUTE_MS)
    except (RestUnavailableError, RestRefusedError) as error:
        kind = RestRefusedError if isinstance(error, RestRefusedError) else RestUnavailableError
        return {"outcome": kind.__name__, "reason": str(error)[:200]}
    finally:
        await rest.close()
    return {"outcome": "answer", "candles": len(answer.candles)}


def memory_mb() -> dict[str, float]:
    """Resident memory of this process now and at its most; Linux tells, others need not be asked."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    found = {words[0]: int(words[1]) / 1024 for words in lines if words and words[0] in ("VmRSS:", "VmHWM:")}
    return {"now_mb": found["VmRSS:"], "most_mb": found["VmHWM:"]}


def main() -> None:
    """Do as the arguments say, and tell."""
    before_mb = memory_mb()["most_mb"]
    met = asyncio.run({"listen": listen, "ask": ask}[sys.argv[1]](*sys.argv[2:]))
    print(json.dumps(met | memory_mb() | {"before_mb": before_mb}))


if __name__ == "__main__":
    main()
