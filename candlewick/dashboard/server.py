"""The dashboard's server: a page, what it asks for, and one stream of events a page. Read-only.

    GET /                   the page; /page/… its files
    GET /api/series         every series with its strip of days
    GET /api/candles        a piece of one series' history (``candlewick.dashboard.candles``)
    GET /api/events         Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html):
                            state, plots, series, load, candles, facts
    GET /healthz, /readyz   200 while it serves

It listens on loopback unless the settings say otherwise. A request whose ``Host`` is none of its names is refused, so
that no page of the internet reaches it through a name of its own (``candlewick.dashboard.names``). The page
may load nothing from elsewhere: its content security policy says so.
"""

import asyncio
import contextlib
import logging
import socket
import warnings
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import orjson
from aiohttp import web

from candlewick.dashboard.audience import Audience
from candlewick.dashboard.candles import history
from candlewick.dashboard.names import Names
from candlewick.dashboard.overview import Overview
from candlewick.dashboard.page_events import PageEvents
from candlewick.dashboard.page_files import CHART, INDEX, page_files
from candlewick.dashboard.stored import StoredSeries
from candlewick.recording.access import StoredOnlyWarning
from candlewick.recording.recording import Recording
from shared.arguments import parse_interval, parse_market, parse_symbol
from shared.broker.entry import EntryId
from shared.candle import Series
from shared.errors import CandlewickError, SettingsError
from shared.process.stopping import stop_signals
from shared.process.tasks import Tasks
from shared.settings.model import Settings

log = logging.getLogger(__name__)

_MAX_PAGES = 32
_MAX_COUNT = 5000
_COUNT = 1000
_MAX_DIGITS = 14  # up to the year 5138 in ms
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_HISTORY_THREADS = 4


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; the log tells the address.

    Raises:
        SettingsError: when the address cannot be listened on.
    """
    warnings.simplefilter("ignore", StoredOnlyWarning)  # the page's health tells
    with Recording(settings) as rec:
        asyncio.run(_serve(rec))


async def _serve(rec: Recording) -> None:
    stop = asyncio.Event()
    for number in stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Dashboard(rec) as dashboard:
        log.info("open %s in a browser", dashboard.address)
        if CHART not in dashboard.files:
            log.warning("the chart's library is missing: %s shows tables alone (docs/dashboard.md)", dashboard.address)
        await stop.wait()


class Dashboard:
    """The running server.

    Attributes:
        address: where it answers, as a URL.
        files: the page's own.
    """

    def __init__(self, rec: Recording) -> None:
        self.address = ""
        self.files = page_files()
        self._rec = rec
        self._settings = rec.settings.dashboard
        self._audience = Audience()
        self._stored = StoredSeries(rec, self._audience)
        self._overview = Overview(rec.settings, self._stored, self._audience)
        self._names = Names([self._settings.host, socket.gethostname(), *self._settings.names])
        self._readers = ThreadPoolExecutor(_HISTORY_THREADS, thread_name_prefix="history")
        self._tasks = Tasks()
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        host, port = self._settings.host, self._settings.port
        site = web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            reason = error.strerror or error
            raise SettingsError(
                f"the dashboard cannot listen on {host}, port {port}: {reason} (dashboard.host, dashboard.port)"
            ) from None
        port = self._runner.addresses[0][1]
        self.address = self._settings.model_copy(update={"port": port}).address
        await self._tasks.__aenter__()
        self._tasks.start(self._overview.run())
        self._tasks.start(self._stored.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._audience.dismiss()
        self._stored.stop()
        self._readers.shutdown(wait=False, cancel_futures=True)
        await self._tasks.cancel()
        await self._tasks.__aexit__(None, None, None)
        await self._runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._guard])
        application.router.add_get("/", self._page)
        application.router.add_get("/page/{name:.+}", self._page)
        application.router.add_get("/api/series", self._series)
        application.router.add_get("/api/candles", self._candles)
        application.router.add_get("/api/events", self._events, allow_head=False)
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._healthz)
        return application

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Refuse other names than ours, and put every error into a line."""
        try:
            if self._names.fit(request.host):
                answer = await handler(request)
            else:
                text = f"this is not {request.host!r:.80}: to serve it under a name, add that to dashboard.names"
                answer = _told(421, text)
        except web.HTTPException as error:
            answer = _told(error.status, error.text or error.reason)
        except CandlewickError as error:
            answer = _told(400, str(error))
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            log.exception("an internal error at %s", request.path)
            answer = _told(500, f"an internal error: {error!r}")
        if not answer.prepared:
            answer.headers.update(_HEADERS)
        return answer

    async def _page(self, request: web.Request) -> web.StreamResponse:
        file = self.files.get(request.match_info.get("name", INDEX))
        if file is None:
            raise web.HTTPNotFound(text=f"there is no {request.path}")
        answer = web.Response(body=file.content, content_type=file.content_type, charset="utf-8")
        answer.etag = file.tag
        if any(known.value == file.tag for known in request.if_none_match or ()):
            answer = web.Response(status=304, headers={"ETag": f'"{file.tag}"'})
        return answer

    async def _series(self, _: web.Request) -> web.Response:
        answer = _json(self._stored.answer())
        answer.enable_compression()
        return answer

    async def _candles(self, request: web.Request) -> web.Response:
        before, count = _number(request, "before", None), _number(request, "count", _COUNT)
        if count is None or not 1 <= count <= _MAX_COUNT:
            raise CandlewickError(f"count {count} is not a number from 1 to {_MAX_COUNT}")
        series = _series_of(request)

        def answer() -> dict[str, Any]:
            if self._overview.is_broker_away:  # what would be asked of it is not waited for
                return history(self._rec, series, before, count, self._stored.seen_ms(series.market), stored_only=True)
            return history(self._rec, series, before, count, self._stored.times_ms(series.market))

        return _json(await asyncio.get_running_loop().run_in_executor(self._readers, answer))

    async def _healthz(self, _: web.Request) -> web.Response:
        return _told(200, "alive")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if len(self._audience) >= _MAX_PAGES:
            raise web.HTTPServiceUnavailable(text=f"{_MAX_PAGES} pages are open: close one")
        series = _series_of(request) if "market" in request.query else None
        after = _entry_of(request.headers.get("Last-Event-ID") or request.query.get("after", ""))
        page = PageEvents(self._rec.settings, self._overview, self._stored, series, after)
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", **_HEADERS})
        one_at_a_time = asyncio.Lock()

        async def send(chunk: bytes) -> None:
            async with one_at_a_time:
                await answer.write(chunk)

        with self._audience, contextlib.suppress(ConnectionError):  # the page is gone
            await answer.prepare(request)
            await page.run(send)
        return answer


def _told(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n")


def _json(value: Any) -> web.Response:
    return web.Response(
        body=orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), content_type="application/json", charset="utf-8"
    )


def _number(request: web.Request, name: str, default: int | None) -> int | None:
    text = request.query.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > _MAX_DIGITS:
        raise CandlewickError(f"{name} {text!r} is not a whole number")
    return int(text)


def _series_of(request: web.Request) -> Series:
    """The series that a question names. CandlewickError when it names none."""
    market, symbol, interval = (request.query.get(name, "") for name in ("market", "symbol", "interval"))
    return Series(parse_market(market), parse_symbol(symbol), parse_interval(interval))


def _entry_of(text: str) -> EntryId | None:
    """The entry that a page had last, None where it says none."""
    try:
        return EntryId.parse(text.encode())
    except ValueError:
        return None
