"""Many entries onto a stream in one go: packed into one buffer, sent over one connection, answered one by one.

A burst at a minute's end is a thousand candles and more, and redis-py's pipeline spends most of its time on each of
them alone. So commands are written here as Redis reads them (https://redis.io/docs/latest/develop/reference/protocol-spec/,
"arrays of bulk strings"), and one time-out holds for all of a batch's answers.
"""

import asyncio
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from shared.broker.client import AsyncClient, pool_for
from shared.broker.entry import encode_entry
from shared.candle import CANDLE_FIELDS, Candle, Series
from shared.series_fact import SeriesFact

_WAIT_MS = 1000
_CANDLE_WORDS = 3 + 2 * (2 + len(CANDLE_FIELDS))  # XADD, key and "*"; then names and values

Answer = bytes | ResponseError
"""The new entry's id, or the error that the server answered instead."""


class Appended(NamedTuple):
    """What became of some items.

    Attributes:
        answers: one an item, in their order.
        replicas: how many replicas have all of them, or the error that was answered to that question; 0 if not asked.
    """

    answers: Sequence[Answer]
    replicas: int | ResponseError


async def append_entries(
    client: AsyncClient, key: str, items: Sequence[Candle | SeriesFact], timeout_seconds: float, replicas: int = 0
) -> Appended:
    """Append items to a stream, in order.

    Args:
        client: whose pool has the connection.
        key: of the stream.
        items: what to append.
        timeout_seconds: longest wait for all answers.
        replicas: how many replicas should have them within a second (WAIT); 0 asks for none.

    Raises:
        redis.RedisError, OSError: when the broker is away, or does not answer in time. What it took is not known then.
    """
    commands = pack_entries(key, items)
    if replicas:  # over the same connection: it is about what was written over it
        commands += _command("WAIT", replicas, _WAIT_MS).encode()
    pool: Any = pool_for(client, key)
    connection = await pool.get_connection()
    try:
        await connection.send_packed_command(commands)
        async with asyncio.timeout(timeout_seconds):
            answers = [await _answer(connection) for _ in items]
            return Appended(answers, await _answer(connection) if replicas else 0)
    except BaseException:
        await connection.disconnect(nowait=True)  # answers that nobody took may still come over it
        raise
    finally:
        await pool.release(connection)


async def _answer(connection: Any) -> Any:
    """The next answer, or the error that it is."""
    try:
        return await connection.read_response(disable_decoding=True, timeout=math.inf)
    except ResponseError as error:
        return error


def pack_entries(key: str, items: Iterable[Candle | SeriesFact]) -> bytes:
    """The commands that append items to a stream, as they are sent. Candles have passed ``checked_candle``."""
    return "".join([_candle(key, item) if isinstance(item, Candle) else _fact(key, item) for item in items]).encode()


def _candle(key: str, candle: Candle) -> str:
    """XADD of a candle. Fields and their order are those of ``encode_entry``; decimals are ASCII."""
    opened, trades = str(candle.open_time_ms), str(candle.trade_num)
    event, received = str(candle.event_time_ms), str(candle.receive_time_ms)
    base, quote = candle.taker_buy_base_asset_volume, candle.taker_buy_quote_asset_volume
    return (
        f"{_candle_head(key, candle.series)}"
        f"$12\r\nopen_time_ms\r\n${len(opened)}\r\n{opened}\r\n"
        f"$4\r\nopen\r\n${len(candle.open)}\r\n{candle.open}\r\n"
        f"$4\r\nhigh\r\n${len(candle.high)}\r\n{candle.high}\r\n"
        f"$3\r\nlow\r\n${len(candle.low)}\r\n{candle.low}\r\n"
        f"$5\r\nclose\r\n${len(candle.close)}\r\n{candle.close}\r\n"
        f"$6\r\nvolume\r\n${len(candle.volume)}\r\n{candle.volume}\r\n"
        f"$12\r\nquote_volume\r\n${len(candle.quote_volume)}\r\n{candle.quote_volume}\r\n"
        f"$9\r\ntrade_num\r\n${len(trades)}\r\n{trades}\r\n"
        f"$27\r\ntaker_buy_base_asset_volume\r\n${len(base)}\r\n{base}\r\n"
        f"$28\r\ntaker_buy_quote_asset_volume\r\n${len(quote)}\r\n{quote}\r\n"
        f"{_source(candle.source)}"
        f"$13\r\nevent_time_ms\r\n${len(event)}\r\n{event}\r\n"
        f"$15\r\nreceive_time_ms\r\n${len(received)}\r\n{received}\r\n"
    )


@lru_cache(maxsize=20_000)
def _candle_head(key: str, series: Series) -> str:
    """The part of a candle's XADD that is the same for all candles of a series."""
    named = ("symbol", series.symbol, "interval", series.interval.value)
    return f"*{_CANDLE_WORDS}\r\n{_words('XADD', key, '*', *named)}"


@lru_cache(maxsize=100)
def _source(source: str) -> str:
    return _words("source", source)


def _fact(key: str, fact: SeriesFact) -> str:
    return _command("XADD", key, "*", *(word for field in encode_entry(fact).items() for word in field))


def _command(*words: str | int) -> str:
    return f"*{len(words)}\r\n{_words(*words)}"


def _words(*words: str | int) -> str:
    return "".join(f"${len(str(word).encode())}\r\n{word}\r\n" for word in words)
