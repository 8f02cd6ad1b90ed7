"""Processes that look at a recording from outside: what they see, and when. Each looks in its own way, cheaply.

Every time is of this machine's clock, in UTC ms, taken when the answer was there.
"""

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, NamedTuple

from redis.exceptions import RedisError

import candlewick
from shared.broker.client import sync_client
from shared.broker.keys import Keys
from shared.market import Market

_LOOK_SECONDS = 0.025
_CLOSE_SECONDS = 10  # of a minute
_READ_PAUSE_SECONDS = 0.05
_READ_AT_MOST_SECONDS = 20.0
_SPAWN = multiprocessing.get_context("spawn")

Key = tuple[Market, str, int]
"""A candle: its market, symbol and close time in ms."""
EntryId = tuple[int, int]


class Stored(NamedTuple):
    """At a time every entry of a market's stream below an id was acknowledged, and so on disk."""

    at_ms: float
    market: Market
    below: EntryId


class Observer:
    """``look(data, stop, …)`` in a process of its own, until ``end``, which returns what it has seen."""

    def __init__(self, look: Callable[..., Any], data: Path, *arguments: object) -> None:
        self._here, there = _SPAWN.Pipe()
        self._stop = _SPAWN.Event()
        work = (there, look, data, self._stop, *arguments)
        self._process = _SPAWN.Process(target=_look, args=work, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process.pid is not None  # noqa: S101 # it was started
        return self._process.pid

    def end(self) -> Any:
        """Let it stop; what it has seen."""
        self._stop.set()
        seen = self._here.recv()
        self._process.join()
        return seen


def _look(answer: Connection, look: Callable[..., Any], *arguments: object) -> None:
    answer.send(look(*arguments))


def followed(data: Path, stop: Event) -> dict[Key, float]:
    """When ``rec.follow`` of each market handed a candle over."""
    seen, rec = dict[Key, float](), candlewick.open(data)

    def follow(market: Market) -> None:
        for candle in rec.follow(market, None, "1m"):
            seen[market, candle.symbol, _ms(candle.candle_end_time)] = _now_ms()

    _beside((follow, market) for market in Market)
    stop.wait()
    return dict(seen)


def sections(data: Path, stop: Event) -> dict[int, float]:
    """When ``rec.cross_sections`` of spot handed a close over whole, by close time in ms."""
    seen, rec = dict[int, float](), candlewick.open(data)

    def await_sections(market: Market) -> None:
        for section in rec.cross_sections(market, None, "1m"):
            if section.is_complete:
                seen[_ms(section.time)] = _now_ms()

    _beside([(await_sections, Market.SPOT)])
    stop.wait()
    return dict(seen)


def read(data: Path, stop: Event, chosen: Sequence[str]) -> dict[Key, float]:
    """When ``rec.read`` first had a candle of these spot symbols.

    It asks again and again, with a short pause, from a minute's end until it has all of them, and then not before the
    next minute's end: asking all the time would take a core.
    """
    seen, rec = dict[Key, float](), candlewick.open(data)
    while not stop.wait(60 - time.time() % 60):
        close_ms = int(time.time() // 60) * 60_000
        until = time.monotonic() + _READ_AT_MOST_SECONDS
        left = set(chosen)
        while left and time.monotonic() < until and not stop.wait(_READ_PAUSE_SECONDS):
            frame = rec.read("spot", chosen, "1m", tail=1, columns="close")
            now_ms = _now_ms()
            for end, symbol in zip(frame.index, frame["symbol"], strict=True):
                if symbol in left and _ms(end) == close_ms:
                    left.remove(symbol)
                    seen[Market.SPOT, symbol, close_ms] = now_ms
    return seen


def stored(data: Path, stop: Event) -> list[Stored]:
    """How far the writers' group has acknowledged each stream.

    A writer acknowledges an entry only when its file and its folder are synced: these times are never too early, and
    late by the acknowledgement and one look. It looks forty times a second for the first ten seconds of each minute,
    and then once a second: the broker would have more to do for these looks than for the candles.
    """
    settings = candlewick.open(data).settings
    client: Any = sync_client(settings)
    keys, group = Keys(settings.broker.prefix), settings.writer.group
    seen, last = list[Stored](), dict.fromkeys(Market, (0, 0))
    while not stop.wait(_LOOK_SECONDS if time.time() % 60 < _CLOSE_SECONDS else 1.0):
        pipeline = client.pipeline(transaction=True)
        for market in Market:
            pipeline.xinfo_groups(keys.candles(market)).xpending(keys.candles(market), group)
        with contextlib.suppress(RedisError):  # a market that is not recorded has no stream
            answers = pipeline.execute(raise_on_error=False)
            now_ms = _now_ms()
            for number, market in enumerate(Market):
                below = _below(*answers[2 * number : 2 * number + 2])
                if below is not None and below > last[market]:
                    last[market] = below
                    seen.append(Stored(now_ms, market, below))
    return seen


def _below(groups: Any, pending: Any) -> EntryId | None:
    """The id below which all is acknowledged: the oldest that is pending, or the first that was not given yet."""
    if isinstance(groups, Exception) or isinstance(pending, Exception) or not groups:
        return None
    if pending["pending"]:
        return parse_id(pending["min"])
    milliseconds, sequence = parse_id(groups[0]["last-delivered-id"])
    return milliseconds, sequence + 1


def parse_id(text: bytes) -> EntryId:
    """An entry's id as two numbers: ms of the broker's clock, and a sequence."""
    milliseconds, _, sequence = text.partition(b"-")
    return int(milliseconds), int(sequence)


def _beside(works: Iterable[tuple[Callable[[Market], None], Market]]) -> None:
    for work, market in works:
        threading.Thread(target=work, args=(market,), daemon=True).start()


def _ms(time_: Any) -> int:
    return int(time_.timestamp() * 1000 + 0.5)


def _now_ms() -> float:
    return time.time() * 1000
