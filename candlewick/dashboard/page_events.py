"""The events of one open page: how the pipeline does, the last hour, the list's version, its series' candles."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
from redis.exceptions import RedisError

from candlewick.dashboard.live import Event, LiveCandles
from candlewick.dashboard.overview import Overview
from candlewick.dashboard.stored import StoredSeries
from shared.broker.client import CONNECTION_ERRORS
from shared.broker.entry import EntryId
from shared.candle import Series
from shared.process.tasks import Tasks
from shared.settings.model import Settings

Send = Callable[[bytes], Awaitable[Any]]

_RETRY_SECONDS = 0.5
_HELLO = b"retry: 1000\n\n"  # ms after which a page that was cut off asks again


class PageEvents:
    """What one page is sent, from its opening on; ``series`` is the one that it shows, None at first."""

    def __init__(
        self, settings: Settings, overview: Overview, stored: StoredSeries, series: Series | None, after: EntryId | None
    ) -> None:
        self._settings = settings
        self._overview = overview
        self._stored = stored
        self._series = series
        self._after = after

    async def run(self, send: Send) -> None:
        """Send events for ever. ConnectionError when the page is gone."""
        await send(_HELLO)
        async with Tasks() as tasks:
            tasks.start(self._send_overview(send))
            if self._series is not None:
                tasks.start(self._send_candles(send, self._series))

    async def _send_overview(self, send: Send) -> None:
        plots, version = None, -1
        while True:
            if self._overview.state is not None:
                await send(_event("state", self._overview.state))
            if self._overview.plots is not plots:
                plots = self._overview.plots
                await send(_event("plots", plots))
            if self._stored.version != version:
                version = self._stored.version
                await send(_event("series", {"version": version}))
            await self._overview.change()

    async def _send_candles(self, send: Send, series: Series) -> None:
        live = LiveCandles(self._settings, series, self._after)
        thread = ThreadPoolExecutor(1, thread_name_prefix="page")
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    events = await loop.run_in_executor(thread, live.next)
                except (RedisError, *CONNECTION_ERRORS):  # the state says so
                    await asyncio.sleep(_RETRY_SECONDS)
                    continue
                if any(event.at is not None for event in events):
                    self._overview.is_broker_away = False
                for event in events:
                    await send(_of_candles(event))
        finally:
            thread.submit(live.close)
            thread.shutdown(wait=False)


def _of_candles(event: Event) -> bytes:
    """An event with its id; one that has nothing else moves the page's last id on."""
    mark = b"" if event.at is None else f"id: {event.at}\n".encode()
    return mark + (_event(event.kind, event.rows) if event.kind else b"\n")


def _event(name: str, value: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(value))
