"""How soon a candle that has closed is where: all three markets whole, at the speed of the real ones, for minutes.

The simulated exchange lists as many symbols as Binance does and pushes at its cadence; ``candlewick up`` records
``"*"`` at 1m with its default settings; all on this machine. The steps of a candle's life, and how each is told:

- *closed*: the end of its minute; *event*: the exchange's own time of the closing frame (``E``);
- *received*: ``receive_time_ms``; *published*: the ms of the entry's id, which the broker gives. Both are read from
  the stream when all is over;
- *on disk*: the writer acknowledges an entry only when its file and its folder are synced, so the acknowledgement,
  looked at every 25 ms, is a bound from above. A file's own time would be too early: a rename is not durable yet;
- ``rec.follow`` of all symbols of each market; ``rec.read`` of twenty spot symbols, asked from a minute's end until it
  has them, with pauses of 50 ms; ``rec.cross_sections`` of all of spot.

*The burst*: of each minute's end and market, from the last frame received to the last entry published.

The minutes before every symbol has closed on the WebSocket once are left out, and the rest of the minute after that.
What is measured begins and ends in the middle of a minute. Candles that came over REST are counted, and in no step.
``BENCH_MINUTES`` (5) and ``BENCH_SHARE`` (1, of the symbols) make it shorter or smaller. There is no floor: nothing
else has such a path.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from redis.exceptions import RedisError

import candlewick
from bench import observers, options
from bench.moments import MIDDLE_SECOND, sleep_to
from bench.observers import EntryId, Key, Observer, Stored, parse_id
from bench.result import Line, Percentiles, Result, Spread
from bench.simulated import SIZES, Recording, recorded, symbols
from bench.usage import Meter, processes
from shared.broker.client import sync_client
from shared.broker.keys import Keys
from shared.broker.paging import pages
from shared.interval import MINUTE_MS
from shared.market import Market

_MINUTES = 5
_OBSERVERS_SECONDS = 15  # before that: they start
_READ_SYMBOLS = 20
_PATIENCE_SECONDS = 600

Listed = Mapping[Market, Sequence[str]]


class Published(NamedTuple):
    """A candle's entry: its key, its id, and both times of its frame in ms."""

    key: Key
    id: EntryId
    event_ms: int
    received_ms: int
    is_live: bool


class Seen(NamedTuple):
    """What observers saw."""

    stored: Sequence[Stored]
    followed: Mapping[Key, float]
    read: Mapping[Key, float]
    sections: Mapping[int, float]


def run() -> list[Line]:
    """Record, look at it for some minutes, and reckon."""
    listed = {market: symbols(market, max(1, round(size * options.share()))) for market, size in SIZES.items()}
    with recorded(listed) as recording:
        _await_every_symbol(recording.data, listed)
        return _measured(recording, listed)


def _measured(recording: Recording, listed: Listed) -> list[Line]:
    minutes, chosen = options.minutes(_MINUTES), listed[Market.SPOT][:: max(1, len(listed[Market.SPOT]) // 20)]
    sleep_to(MIDDLE_SECOND - _OBSERVERS_SECONDS)
    looking = {
        "stored": Observer(observers.stored, recording.data),
        "followed": Observer(observers.followed, recording.data),
        "read": Observer(observers.read, recording.data, chosen[:_READ_SYMBOLS]),
        "sections": Observer(observers.sections, recording.data),
    }
    sleep_to(MIDDLE_SECOND)
    measured = processes(recording.up.pid, recording.data) | {
        "simulated exchange": psutil.Process(recording.simulator.pid)
    }
    measured |= {f"this benchmark: {name}": psutil.Process(observer.pid) for name, observer in looking.items()}
    meter, requests, began_ms = Meter(measured), recording.requests(), time.time() * 1000
    time.sleep(60 * minutes)
    usages, ended_ms = meter.usages(), time.time() * 1000
    requested = {name: count - requests[name] for name, count in recording.requests().items()}
    seen = Seen(**{name: observer.end() for name, observer in looking.items()})
    entries = [entry for entry in _published(recording.data) if began_ms < entry.key[2] < ended_ms]
    live = [entry for entry in entries if entry.is_live]
    expected = minutes * sum(map(len, listed.values()))
    return [
        Result("candles that were published as they closed; expected", "candles", len(live), expected),
        Result("candles that came over REST", "candles", len(entries) - len(live)),
        *(Result(f"REST requests, {name}", "a minute", count / minutes) for name, count in requested.items()),
        *steps(live, seen),
        *bursts(live),
        *usages,
    ]


def steps(live: Sequence[Published], seen: Seen) -> list[Spread]:
    """Each step of the candles' way."""
    last = defaultdict[int, int](int)
    for entry in live:
        if entry.key[0] is Market.SPOT:
            last[entry.key[2]] = max(last[entry.key[2]], entry.received_ms)
    on_disk = stored_times(live, seen.stored)
    published = {entry.key: entry.id[0] for entry in live}
    return [
        _spread(
            "the close to the frame's event time", ((entry.key[2], entry.event_ms, entry.key[2]) for entry in live)
        ),
        _spread("event time to received", ((entry.event_ms, entry.received_ms, entry.key[2]) for entry in live)),
        _spread("received to published", ((entry.received_ms, entry.id[0], entry.key[2]) for entry in live)),
        _spread("published to on disk, acknowledged", _since(published, on_disk)),
        _spread("published to rec.follow", _since(published, seen.followed)),
        _spread("published to rec.read (20 symbols)", _since(published, seen.read)),
        _spread(
            "spot's last frame to its cross-section",
            ((last[close_ms], at, close_ms) for close_ms, at in seen.sections.items() if close_ms in last),
        ),
    ]


def bursts(live: Iterable[Published]) -> list[Spread]:
    """Of each market, from the last frame of a minute's end to its last entry."""
    last = defaultdict[Market, dict[int, tuple[int, int]]](dict)
    for (market, _, close_ms), (published_ms, _), _, received_ms, _ in live:
        frame_ms, entry_ms = last[market].get(close_ms, (0, 0))
        last[market][close_ms] = max(frame_ms, received_ms), max(entry_ms, published_ms)
    return [
        _spread(f"burst of {market}: last frame to last entry", ((*found, close) for close, found in closes.items()))
        for market, closes in last.items()
    ]


def stored_times(live: Iterable[Published], looks: Iterable[Stored]) -> dict[Key, float]:
    """When each entry was first seen acknowledged, in ms; without those that never were."""
    waiting = defaultdict[Market, list[Published]](list)
    for entry in sorted(live, key=lambda entry: entry.id, reverse=True):
        waiting[entry.key[0]].append(entry)
    found = dict[Key, float]()
    for at_ms, market, below in looks:
        left = waiting[market]
        while left and left[-1].id < below:
            found[left.pop().key] = at_ms
    return found


def _since(began: Mapping[Key, float], ended: Mapping[Key, float]) -> Iterable[tuple[float, float, float]]:
    return ((began[key], at, key[2]) for key, at in ended.items() if key in began)


def _spread(name: str, times: Iterable[tuple[float, float, float]]) -> Spread:
    """Of begin, end and close, each in ms."""
    found = list(times)
    step = Percentiles.of(ended - began for began, ended, _ in found)
    return Spread(name, step, Percentiles.of(ended - close_ms for _, ended, close_ms in found))


def _await_every_symbol(data: Path, listed: Listed) -> None:
    """Wait until every symbol has had a candle that came over the WebSocket."""
    until, wanted, found = time.monotonic() + _PATIENCE_SECONDS, sum(map(len, listed.values())), 0
    while time.monotonic() < until:
        sleep_to(15)
        found = len({entry.key[:2] for entry in _published(data) if entry.is_live})
        if found >= wanted:
            return
    raise TimeoutError(f"{found} of {wanted} symbols have closed on the WebSocket within {_PATIENCE_SECONDS} s")


def _published(data: Path) -> list[Published]:
    """Every candle that the streams hold."""
    settings = candlewick.open(data).settings
    client: Any = sync_client(settings)
    found = list[Published]()
    try:
        for market in Market:
            for page in pages(client, Keys(settings.broker.prefix).candles(market)):
                found += (_entry(market, name, fields) for name, fields in page if b"open_time_ms" in fields)
    except (OSError, RedisError):  # the broker is not there yet
        return []
    finally:
        client.close()
    return found


def _entry(market: Market, name: bytes, fields: Mapping[bytes, bytes]) -> Published:
    key = (market, fields[b"symbol"].decode(), int(fields[b"open_time_ms"]) + MINUTE_MS)
    times = int(fields[b"event_time_ms"]), int(fields[b"receive_time_ms"])
    return Published(key, parse_id(name), *times, fields[b"source"] == b"websocket")
