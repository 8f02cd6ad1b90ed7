"""ccxt's ``watch_ohlcv_for_symbols``, by its public address and with a list of markets that it need not fetch."""

import asyncio
from importlib.metadata import version
from typing import Any

import ccxt.pro

from bench.peers.feed import SYMBOLS
from bench.peers.stopwatch import Stopwatch, timed


class _Counting(ccxt.pro.binance):  # type: ignore[misc] # it is not installed where types are checked
    """It tells of the candles that have changed, not of frames: those are counted as they are handled."""

    watch: Stopwatch

    def handle_ohlcv(self, client: Any, message: Any) -> None:
        super().handle_ohlcv(client, message)
        self.watch.see()


async def receive(address: str, watch: Stopwatch) -> None:
    """Watch until enough was seen."""
    exchange = _Counting({"newUpdates": True})
    exchange.watch = watch
    exchange.urls["api"]["ws"]["spot"] = f"{address}/stream"
    exchange.set_markets([_market(exchange, symbol) for symbol in SYMBOLS])
    wanted = [[f"{symbol.removesuffix('USDT')}/USDT", "1m"] for symbol in SYMBOLS]

    async def consume() -> None:
        while True:
            await exchange.watch_ohlcv_for_symbols(wanted)

    consumer = asyncio.create_task(consume())
    await asyncio.wait([consumer, asyncio.create_task(watch.done.wait())], return_when=asyncio.FIRST_COMPLETED)
    if consumer.done():
        consumer.result()
    consumer.cancel()
    await exchange.close()


def _market(exchange: Any, symbol: str) -> Any:
    base = symbol.removesuffix("USDT")
    named = {"id": symbol, "lowercaseId": symbol.lower(), "symbol": f"{base}/USDT", "base": base, "quote": "USDT"}
    return exchange.safe_market_structure({**named, "baseId": base, "quoteId": "USDT", "type": "spot", "spot": True})


if __name__ == "__main__":
    timed(receive, version("ccxt"))
