"""Candlewick's ``CandleListener`` beside other libraries' klines, and a loop that receives and forgets.

One process sends the frames of 200 spot symbols over loopback, ready-made, as fast as they are taken: at the real mix,
where one frame in thirty closes a candle, and all closed, which is the burst at a minute's end. Each contestant takes
them in over one connection in a process of its own. All take turns in several rounds, and its least CPU time counts.

| contestant | hands over |
|---|---|
| the floor: ``websockets``, bare | nothing |
| Candlewick: ``CandleListener`` | closed candles, every value checked; of open frames it looks for one byte sequence |
| cryptofeed: ``Binance`` | closed candles as its ``Candle`` (``candle_closed_only``, its default) |
| python-binance: ``multiplex_socket`` | every frame, as the decoded message |
| ccxt: ``watch_ohlcv_for_symbols`` | every update, in its cache of candles; six numbers a candle |

The others come from the package index, into an environment of their own (``bench.peers.environment``); one that cannot
be installed or does not run is named with the reason, and the rest goes on. python-binance and ccxt are pointed at
loopback by their public addresses, and ccxt is handed its list of markets. cryptofeed takes no address but ``wss://``:
its own ``message_handler`` is awaited in a loop over ``websockets``, which is what its connection handler does.

Nothing is imported here: what runs in the others' environment imports this package, too.
"""

from typing import Any


def run() -> Any:
    """Every contestant on both feeds."""
    from bench.peers.compare import compare

    return compare()
