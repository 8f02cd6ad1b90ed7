"""Where files of Binance's archive come from: a folder that mirrors it, or a web address.

Both hand over bytes whose checksum has been verified. Each keeps three things apart: the archive does not have the file
(None), the file is there and is refused (``ArchiveError``), and the archive cannot be reached
(``ArchiveUnreachableError``), which is raised only after several tries.
"""

import asyncio
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import quote, urlsplit

import httpx

from candlewick.backfill.archive_format import CHECKSUM_SUFFIX, ArchiveFile, verify
from candlewick.backfill.retry import Patience
from consumer.storage.layout import SUFFIX, partition_span
from producers.exchange.proxy import proxy_for
from shared.candle import Series
from shared.errors import ArchiveError, ArchiveUnreachableError, CandlewickError
from shared.interval import DAY_MS
from shared.market import Market
from shared.process.backoff import backoff
from shared.settings.sections import ExchangeSettings
from shared.settings.types import without_secrets

_STATUS_TRIES = 4  # while the archive answers that it cannot now
_CHECKSUM_BYTES = 4096
_MARKET_FOLDERS = {"spot": Market.SPOT, "um": Market.USDT_FUTURES, "cm": Market.COIN_FUTURES}
_MARKET_FOLDERS |= {market.value: market for market in Market}


class Found(NamedTuple):
    """A file of the archive: where it lies, and its verified bytes."""

    where: str
    content: bytes


class Archive(Protocol):
    """What a folder and a web address have in common."""

    async def get(self, file: ArchiveFile) -> Found | None:
        """A file's bytes; None where the archive does not have it.

        ArchiveError, whose text names the file, when it is refused; ArchiveUnreachableError when nobody answers.
        """

    def end_ms(self, series: Series) -> int | None:
        """Up to where the archive may have files of a series, as far as it can tell without asking the exchange."""

    async def close(self) -> None:
        """Let go of it."""


def open_archive(text: str, exchange: ExchangeSettings, *, unverified: bool) -> Archive:
    """The archive that ``--archive`` names: an address that begins with http:// or https://, or a folder.

    CandlewickError when it is neither. Files without a CHECKSUM beside them are taken only if ``unverified``.
    """
    if text.startswith(("http://", "https://")):
        try:
            host = httpx.URL(text).host
        except httpx.InvalidURL:
            host = ""
        if not host:
            raise CandlewickError(f"--archive {text!r} names no host")
        proxy = proxy_for(exchange, text)
        return WebArchive(text, exchange.rest_timeout_seconds, unverified=unverified, proxy=proxy)
    if not Path(text).is_dir():
        raise CandlewickError(f"--archive {text!r} is neither a folder nor an address that begins with https://")
    return FolderArchive(Path(text), unverified=unverified)


class FolderArchive:
    """A folder: the archive's whole tree, with or without its leading ``data/``, or MARKET/FILE, or FILE.

    In a folder whose own name is another market's nothing is looked for as plain FILE: names do not tell the market.
    """

    def __init__(self, root: Path, *, unverified: bool = False) -> None:
        self._root = root
        self._unverified = unverified

    async def get(self, file: ArchiveFile) -> Found | None:  # noqa: D102 # as the protocol says
        return await asyncio.to_thread(self._get, file)

    def end_ms(self, series: Series) -> int | None:
        """The end of the last file of a series, by its name."""
        ends = [0]
        for sample in (ArchiveFile.month(series, 0), ArchiveFile.day(series, 0)):
            for place in self._places(sample):
                names = place.parent.glob(f"{series.symbol}-{series.interval.on_disk}-*.zip")
                ends += [end for path in names if (end := _end_of_name(series, path.name))]
        return max(ends) or None

    async def close(self) -> None:  # noqa: D102
        pass

    def _get(self, file: ArchiveFile) -> Found | None:
        path = next((path for path in self._places(file) if path.is_file()), None)
        if path is None:
            return None
        beside = path.with_name(path.name + CHECKSUM_SUFFIX)
        try:
            if path.stat().st_size > file.max_bytes:
                raise ArchiveError(f"{path} is refused: {_too_large(file.max_bytes)}")
            content = path.read_bytes()
            checksum = beside.read_bytes()[:_CHECKSUM_BYTES] if beside.is_file() else None
        except OSError as error:
            raise ArchiveError(f"{path} cannot be read: {error.strerror}") from None
        return _verified(str(path), content, checksum, unverified=self._unverified)

    def _places(self, file: ArchiveFile) -> Iterator[Path]:
        market = file.series.market
        yield self._root / file.path
        yield self._root / file.path.removeprefix("data/")
        yield self._root / market.value / file.name
        if _MARKET_FOLDERS.get(self._root.resolve().name, market) is market:
            yield self._root / file.name


class WebArchive:
    """A web address that serves the archive's tree, such as https://data.binance.vision, or a mirror's.

    ``proxy`` leads to it, if any does. What fails for want of a connection or by the server's fault (5xx, 429) is
    tried again a few times.
    """

    def __init__(
        self, address: str, timeout_seconds: float, *, unverified: bool = False, proxy: str | None = None
    ) -> None:
        self._address = address.rstrip("/").removesuffix("/data")
        self._unverified = unverified
        self._patience = Patience(ArchiveUnreachableError, _without_password(self._address), (httpx.HTTPError, OSError))
        self._client = httpx.AsyncClient(timeout=timeout_seconds, follow_redirects=True, proxy=proxy, trust_env=False)

    async def get(self, file: ArchiveFile) -> Found | None:  # noqa: D102 # as the protocol says
        address = f"{self._address}/{quote(file.path)}"
        content = await self._download(address, file.max_bytes)
        if content is None:
            return None
        checksum = await self._download(address + CHECKSUM_SUFFIX, _CHECKSUM_BYTES)
        return _verified(_without_password(address), content, checksum, unverified=self._unverified)

    def end_ms(self, series: Series) -> int | None:  # noqa: ARG002 # the archive is the same for all
        """The last midnight by this host's clock: the archive is made of whole days."""
        now_ms = time.time_ns() // 1_000_000
        return now_ms - now_ms % DAY_MS

    async def close(self) -> None:  # noqa: D102
        await self._client.aclose()

    async def _download(self, address: str, max_bytes: int) -> bytes | None:
        """A whole body, after as many tries as it takes; None for 404."""
        status, content = await self._patience.call(lambda: self._try_download(address, max_bytes))
        if status not in (httpx.codes.OK, httpx.codes.NOT_FOUND):
            raise ArchiveError(f"{_without_password(address)} cannot be had: the archive answers {status}")
        return content if status == httpx.codes.OK else None

    async def _try_download(self, address: str, max_bytes: int) -> tuple[int, bytes]:
        """Status and body, asked a few times while another answer may come in a moment (429, 5xx)."""
        answer = await self._once(address, max_bytes)
        for delay in islice(backoff(0.2, 30.0), _STATUS_TRIES - 1):
            if answer[0] < httpx.codes.INTERNAL_SERVER_ERROR and answer[0] != httpx.codes.TOO_MANY_REQUESTS:
                break
            await asyncio.sleep(delay)
            answer = await self._once(address, max_bytes)
        return answer

    async def _once(self, address: str, max_bytes: int) -> tuple[int, bytes]:
        content = bytearray()
        async with self._client.stream("GET", address) as answer:
            if answer.status_code != httpx.codes.OK:
                return answer.status_code, b""
            async for chunk in answer.aiter_bytes():
                content += chunk
                if len(content) > max_bytes:
                    raise ArchiveError(f"{_without_password(address)} is refused: {_too_large(max_bytes)}")
        return httpx.codes.OK, bytes(content)


def _verified(where: str, content: bytes, checksum: bytes | None, *, unverified: bool) -> Found:
    """A file whose checksum holds, or one without a checksum if that is allowed."""
    if checksum is None and not unverified:
        raise ArchiveError(f"{where} is refused: there is no CHECKSUM beside it (--unverified takes it)")
    if checksum is not None:
        try:
            verify(content, checksum.decode("utf-8", "replace"))
        except ArchiveError as error:
            raise ArchiveError(f"{where} is refused: {error}") from None
    return Found(where, content)


def _too_large(max_bytes: int) -> str:
    return f"it is larger than {max_bytes:,} bytes, more than its klines can take"


def _without_password(address: str) -> str:
    """An address as it may be shown."""
    return without_secrets(address) if "@" in urlsplit(address).netloc else address


def _end_of_name(series: Series, name: str) -> int | None:
    """The end of the period that a file's name tells; None for other names."""
    stem = name.removesuffix(".zip").removeprefix(f"{series.symbol}-{series.interval.on_disk}-")
    span = partition_span(stem + SUFFIX)  # months and days are spelled the same there
    return None if span is None else span[1]
