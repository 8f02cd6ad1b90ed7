"""``/metrics``, ``/healthz`` and ``/readyz`` of one process, over HTTP, by a thread of its own.

    GET /metrics   Prometheus's text format (https://prometheus.io/docs/instrumenting/exposition_formats/)
    GET /healthz   200 while the process's loop turns, else 503 and why: whoever asks may start it again
    GET /readyz    200 while it does its work, else 503 and a line a trouble: starting it again would not help

A port that is taken is said once, and is no reason not to record.
"""

import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple

from shared.metrics.measures import Buckets, Family
from shared.metrics.vitals import Vitals
from shared.settings.sections import MetricsSettings

log = logging.getLogger(__name__)

_TEXT = "text/plain; charset=utf-8"
_ASK_SECONDS = 5.0  # a client that says nothing is let go


class Watched(NamedTuple):
    """What a process shows.

    Attributes:
        role: a market, or ``writer``: each has a port of its own.
        vitals: what its loop says.
        families: its figures, asked for by another thread.
        troubles: what else keeps it from its work, asked for by another thread.
    """

    role: str
    vitals: Vitals
    families: Callable[[], Iterable[Family]]
    troubles: Callable[[], Sequence[str]] = tuple


@contextmanager
def watched(settings: MetricsSettings, process: Watched) -> Iterator[None]:
    """Serve while the block runs; do nothing where the settings say port 0."""
    port = settings.port_of(process.role)
    if not port:
        yield
        return
    try:
        server = _Server((settings.host, port), process)
    except OSError as error:
        log.info("no metrics at http://%s:%d: %s (metrics.port)", settings.host, port, error.strerror or error)
        yield
        return
    thread = Thread(target=server.serve_forever, args=(0.2,), name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], process: Watched) -> None:
        from prometheus_client import CollectorRegistry, ProcessCollector

        self.process = process
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(_Collector(process))
        self.address_family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        super().__init__(address, _Handler)

    def handle_error(self, *_: object) -> None:
        """A client that left early is nobody's concern."""
        log.debug("a client left without its answer")


class _Handler(BaseHTTPRequestHandler):
    timeout = _ASK_SECONDS
    server_version, sys_version = "candlewick", ""
    server: _Server

    def do_GET(self) -> None:
        self._respond()

    def do_HEAD(self) -> None:
        self._respond()

    def _respond(self) -> None:
        try:
            status, form, body = self._answer(self.path.partition("?")[0])
        except Exception:
            log.exception("an internal error at %s", self.path)
            status, form, body = HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, b"an internal error: see the log\n"
        self.send_response(status)
        self.send_header("Content-Type", form)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _answer(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        from prometheus_client.exposition import choose_encoder

        process = self.server.process
        if path == "/metrics":
            encode, form = choose_encoder(self.headers.get("Accept", ""))
            return HTTPStatus.OK, form, encode(self.server.registry)
        if path == "/healthz":
            hangs = process.vitals.hangs
            return _told([hangs] if hangs else [], "alive")
        if path == "/readyz":
            return _told([*process.vitals.troubles, *process.troubles()], "ready")
        return HTTPStatus.NOT_FOUND, _TEXT, b"/metrics, /healthz or /readyz\n"

    def log_message(self, *_: object) -> None:
        """Who asked is nobody's concern."""


def _told(troubles: Sequence[str], well: str) -> tuple[HTTPStatus, str, bytes]:
    status = HTTPStatus.SERVICE_UNAVAILABLE if troubles else HTTPStatus.OK
    return status, _TEXT, "".join(f"{line}\n" for line in troubles or [well]).encode()


class _Collector:
    """The families as prometheus-client has them."""

    def __init__(self, process: Watched) -> None:
        self._process = process

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        kinds: dict[str, Any] = {
            "counter": CounterMetricFamily,
            "gauge": GaugeMetricFamily,
            "histogram": HistogramMetricFamily,
        }
        ready = not self._process.vitals.troubles and not self._process.troubles()
        own = Family("ready", "gauge", "whether the process says that it does its work", ("role",), {})
        for family in (own._replace(values={(self._process.role,): int(ready)}), *self._process.families()):
            shown = kinds[family.kind](f"candlewick_{family.name}", family.meaning, labels=family.labels)
            for labels, value in family.values.items():
                if isinstance(value, Buckets):
                    shown.add_metric(labels, buckets=value.cumulative(), sum_value=value.sum)
                elif value is not None:
                    shown.add_metric(labels, value)
            yield shown
