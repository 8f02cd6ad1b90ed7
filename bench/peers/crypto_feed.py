"""cryptofeed's ``Binance``: its ``message_handler`` over a loop of ``websockets``, for it takes ``wss://`` alone."""

import time
from importlib.metadata import version

from cryptofeed.defines import CANDLES
from cryptofeed.exchanges import Binance
from cryptofeed.symbols import Symbols
from cryptofeed.types import Candle
from websockets.asyncio.client import connect

from bench.peers.feed import CHANNELS, SYMBOLS
from bench.peers.stopwatch import Stopwatch, timed


async def receive(address: str, watch: Stopwatch) -> None:
    """Receive until enough was seen."""
    names = {f"{symbol.removesuffix('USDT')}-USDT": symbol for symbol in SYMBOLS}
    Symbols.set(Binance.id, names, {"instrument_type": dict.fromkeys(names, "spot")})
    candles = list[Candle]()

    async def take(candle: Candle, _received: float) -> None:
        candles.append(candle)

    feed = Binance(symbols=list(names), channels=[CANDLES], callbacks={CANDLES: take})
    url = f"{address}/stream?streams={'/'.join(CHANNELS)}"
    async with connect(url, compression=None, ping_interval=None, max_queue=1024) as socket:
        async for message in socket:
            await feed.message_handler(message, None, time.time())
            watch.see()
            if watch.done.is_set():
                break
    assert candles  # noqa: S101 # some closed


if __name__ == "__main__":
    timed(receive, version("cryptofeed"))
