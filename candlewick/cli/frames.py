"""The exchange's frames for people: as they come, or parsed with the reason where there is no row."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from producers.exchange.channels import channel
from producers.exchange.frames import Control, Malformed, NotKline, OpenKline, Shutdown, parse_frame
from producers.exchange.proxy import proxy_for
from shared.candle import Candle, Series
from shared.errors import CandlewickError
from shared.market import Market
from shared.process.backoff import backoff
from shared.settings.model import Settings


async def print_frames(series: Series, settings: Settings, count: int | None) -> None:
    """Print a channel's frames to standard output until ``count`` is reached, for ever without it.

    CandlewickError when no address of the exchange can be reached; a connection that is lost later is opened again.
    """
    addresses = [f"{base}/ws/{channel(series)}" for base in settings.exchange.websocket(series.market)]
    delays = backoff()
    shown = 0
    for number in itertools.count():
        address = addresses[number % len(addresses)]
        try:
            proxy, timeout = proxy_for(settings.exchange, address), settings.exchange.open_timeout_seconds
            async with connect(address, open_timeout=timeout, compression=None, proxy=proxy) as socket:
                async for frame in socket:
                    print(frame if isinstance(frame, str) else frame.decode(errors="replace"), flush=True)
                    shown += 1
                    if shown == count:
                        return
        except BrokenPipeError:  # whoever reads our output has seen enough
            raise
        except (OSError, TimeoutError, WebSocketException) as error:
            if not shown and number + 1 < len(addresses):
                continue
            if not shown:
                raise CandlewickError(
                    f"cannot reach {address}: {error or 'no answer'} (`candlewick simulate` needs no exchange)"
                ) from None
        await asyncio.sleep(next(delays))


def describe_frames(file: Path, market: Market) -> Iterator[str]:
    """For each frame in a file its row as a pandas frame, or one line that says why there is none.

    The file is a JSON array of frames (objects, or strings that hold them), or has one frame a line. CandlewickError
    when it cannot be read.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CandlewickError(f"{file} cannot be read: {error.strerror}") from None
    for number, frame in enumerate(_frames(content), start=1):
        yield f"frame {number}: {_describe(parse_frame(frame, market, time.time_ns() // 1_000_000))}"


def _frames(content: bytes) -> Iterator[bytes]:
    if content.lstrip().startswith(b"["):
        try:
            members = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise CandlewickError(f"the file begins as a JSON array and is none: {error}") from None
        for member in members:
            yield member.encode() if isinstance(member, str) else orjson.dumps(member)
        return
    yield from (line for line in content.splitlines() if line.strip())


def _rows_of(candle: Candle) -> Iterator[str]:
    """Every column of a candle's row, a line each, with all its digits."""
    from candlewick.cli.columns import columns
    from candlewick.cli.tables import text_columns
    from consumer.storage.table import rows_from_candles, to_arrow

    names, values = text_columns(to_arrow(rows_from_candles([candle]).rows, candle.series.interval))
    yield from columns([list(pair) for pair in zip((f"  {name}" for name in names), values, strict=True)])


def _describe(outcome: object) -> str:
    match outcome:
        case Candle():
            return f"{outcome.series}\n" + "\n".join(_rows_of(outcome))
        case OpenKline():
            return "no row: the kline is still open"
        case NotKline(event=event):
            return f"no row: {event} is not a kline"
        case Control(error=error):
            return f"no row: an answer to a message ({error or 'accepted'})"
        case Shutdown():
            return "no row: the exchange announces that it closes the connection"
        case Malformed(reason=reason):
            return f"no row: malformed: {reason}"
    raise AssertionError(outcome)
