"""Archives, web servers and what a backfill has stored."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from candlewick.backfill.archive_format import ArchiveFile
from consumer.dataset.dataset import Dataset
from consumer.storage.metadata import SeriesMetadata
from consumer.storage.table import Rows
from shared.candle import Series
from shared.interval import DAY_MS, Interval
from shared.market import Market
from tests.support.archives import lines, zipped
from tests.support.candles import JUNE_30

BTC = Series(Market.SPOT, "BTCUSDT", Interval.M1)


HOURLY = BTC._replace(interval=Interval.H1)


MAY = 1_714_521_600_000  # 2024-05-01


NOWHERE = ("--simulator", "http://127.0.0.1:1")


JUNE_30_TEXT = ("--from", "2024-06-30", "--to", "2024-07-01")


def day_of(at: int, series: Series = BTC) -> ArchiveFile:
    return ArchiveFile.day(series, JUNE_30 + at * DAY_MS)


def whole(file: ArchiveFile, without: tuple[int, ...] = ()) -> bytes:
    return zipped(lines(file.series, file.begin_ms, file.end_ms, without=without))


def rows_of(tmp_path: Path, series: Series = BTC) -> Rows:
    return Dataset.in_folder(tmp_path / "data").rows(series)


def metadata_of(tmp_path: Path, series: Series = BTC) -> SeriesMetadata:
    return Dataset.in_folder(tmp_path / "data").metadata(series)


def identities(tmp_path: Path) -> dict[str, tuple[int, int]]:
    """Every file of the data folder, with what a rewrite would change."""
    found = {}
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file():
            found[str(path)] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return found


class WebServer:
    """An archive over HTTP that notes what is asked for.

    Attributes:
        asked: paths, decoded, in their order.
        statuses: answers to be given before the file is, by the end of the path.
        stall_at: the path whose request is held, by its end.
        stalled: set when that has been asked for.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[str] = []
        self.statuses: dict[str, list[int]] = {}
        self.bodies: dict[str, bytes] = {}
        self.stall_at: str | None = None
        self.stalled, self.release = threading.Event(), threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> tuple[int, bytes]:
        self.asked.append(path)
        if self.stall_at is not None and path.endswith(self.stall_at):
            self.stalled.set()
            self.release.wait(60)
        for ending, statuses in self.statuses.items():
            if path.endswith(ending) and statuses:
                return statuses.pop(0), b"busy"
        for ending, body in self.bodies.items():
            if path.endswith(ending):
                return 200, body
        file = self.root / path.removeprefix("/")
        return (200, file.read_bytes()) if file.is_file() else (404, b"<Error><Code>NoSuchKey</Code></Error>")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = server.answer(unquote(self.path))
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass  # whoever asked was killed

            def log_message(self, *_: object) -> None:
                pass

        return Handler
