"""How soon a candle that has closed is had back, at the speed of the real market: 1,900 symbols, one minute each.

From the arrival of its frame at the producer (``receive_time_ms``) to its being in ``rec.read``, in ``rec.follow``,
and, from the arrival of the last frame of a close, to its cross-section. Everything runs on this machine; the first
close, in which the market is subscribed to, is left out. There is no floor: nothing else has such a path.
"""

import threading
import time

import numpy as np
from redis.exceptions import RedisError

import candlewick
from bench.result import Result
from bench.whole_market import recorded_market
from candlewick.recording.recording import Recording
from shared.broker.client import sync_client
from shared.broker.keys import Keys
from shared.broker.paging import pages
from shared.market import Market

_SYMBOLS, _CLOSES = 1900, 3
Key = tuple[str, int]


def run() -> list[Result]:
    """Record for some closes, and read, follow and await each."""
    with recorded_market(_SYMBOLS, 1) as (_, data), candlewick.open(data) as rec:
        return _measured(rec)


def _measured(rec: Recording) -> list[Result]:
    while len(_received(rec)) < _SYMBOLS:
        time.sleep(0.5)
    followed, read, sections = dict[Key, float](), dict[Key, float](), dict[int, float]()
    following, is_over = rec.follow("spot", None, "1m"), threading.Event()
    threads = [
        threading.Thread(target=work, daemon=True)
        for work in (
            lambda: _follow(following, followed),
            lambda: _sections(rec, sections),
            lambda: _read(rec, read, is_over),
        )
    ]
    for thread in threads:
        thread.start()
    threads[1].join()  # sections end, the others are ended
    following.close()
    is_over.set()
    for thread in threads:
        thread.join()
    received = _received(rec)
    last = {end: max(at for (_, ends), at in received.items() if ends == end) for end in sections}
    return [
        *_percentiles("a frame's arrival to rec.follow", [followed[key] - received[key] for key in followed]),
        *_percentiles("a frame's arrival to rec.read (of 20 symbols)", [read[key] - received[key] for key in read]),
        *_percentiles("the last frame's arrival to its cross-section", [sections[end] - last[end] for end in sections]),
    ]


def _received(rec: Recording) -> dict[Key, float]:
    """When each candle that the stream holds was received, by symbol and close time, in seconds."""
    client, found = sync_client(rec.settings), dict[Key, float]()
    try:
        for page in pages(client, Keys(rec.settings.broker.prefix).candles(Market.SPOT)):
            for _, fields in page:
                if b"open_time_ms" in fields:
                    key = (fields[b"symbol"].decode(), int(fields[b"open_time_ms"]) + 60_000)
                    found[key] = int(fields[b"receive_time_ms"]) / 1000
    except (OSError, RedisError):  # the broker is not there yet
        return {}
    finally:
        client.close()
    return found


def _follow(following: object, found: dict[Key, float]) -> None:
    for candle in following:  # type: ignore[attr-defined]
        found[candle.symbol, int(candle.candle_end_time.timestamp() * 1000)] = time.time()


def _sections(rec: Recording, found: dict[int, float]) -> None:
    for section in rec.cross_sections("spot", None, "1m"):
        found[int(section.time.timestamp() * 1000)] = time.time()
        if len(found) == _CLOSES:
            return


def _read(rec: Recording, found: dict[Key, float], is_over: threading.Event) -> None:
    """The last candle of some symbols, again and again."""
    symbols = [f"S{number}USDT" for number in range(0, _SYMBOLS, _SYMBOLS // 20)]
    begun = rec.read("spot", symbols, "1m", tail=1)["symbol"].index.max()
    while not is_over.is_set():
        frame = rec.read("spot", symbols, "1m", tail=1, columns="close")
        now = time.time()
        for end, symbol in zip(frame.index, frame["symbol"], strict=True):
            if end > begun:
                found.setdefault((str(symbol), int(end.timestamp() * 1000)), now)


def _percentiles(name: str, seconds: list[float]) -> list[Result]:
    p50, p99 = np.percentile(np.array(seconds) * 1000, [50, 99])
    return [Result(f"{name}, p50", "ms", float(p50)), Result(f"{name}, p99", "ms", float(p99))]
