"""Messages as the exchange writes them. Pure: values to text, in the exchange's own spelling of each market."""

from typing import Any

from shared.candle import Series
from shared.market import Market
from simulator.market.klines import Kline


def kline_event(series: Series, kline: Kline, event_time_ms: int, *, closed: bool) -> str:
    """One kline event without envelope. USDT-margined futures put a space after each comma inside ``k``."""
    first, last = (-1, -1) if kline.trades == 0 else (kline.open_time_ms, kline.open_time_ms + kline.trades - 1)
    comma = ", " if series.market is Market.USDT_FUTURES else ","
    fields = (
        f'"t":{kline.open_time_ms}',
        f'"T":{kline.close_time_ms}',
        f'"s":"{series.symbol}"',
        f'"i":"{series.interval}"',
        f'"f":{first}',
        f'"L":{last}',
        f'"o":"{kline.open}"',
        f'"c":"{kline.close}"',
        f'"h":"{kline.high}"',
        f'"l":"{kline.low}"',
        f'"v":"{kline.volume}"',
        f'"n":{kline.trades}',
        f'"x":{"true" if closed else "false"}',
        f'"q":"{kline.quote_volume}"',
        f'"V":"{kline.taker_volume}"',
        f'"Q":"{kline.taker_quote_volume}"',
        '"B":"0"',
    )
    return f'{{"e":"kline","E":{event_time_ms},"s":"{series.symbol}","k":{{{comma.join(fields)}}}}}'


def enveloped(channel: str, event: str) -> str:
    """An event as a combined stream carries it."""
    return f'{{"stream":"{channel}","data":{event}}}'


def shutdown_event(event_time_ms: int) -> str:
    """The announcement that the server will close the connection."""
    return f'{{"e":"serverShutdown","E":{event_time_ms}}}'


def rest_row(kline: Kline) -> list[int | str]:
    """One row of a REST klines answer."""
    return [*kline, "0"]


def exchange_info(market: Market) -> dict[str, Any]:
    """An exchangeInfo body with the fields that a recorder needs; its time and its symbols are still to come."""
    limit = market.facts.weight_per_minute
    return {
        "timezone": "UTC",
        "rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": limit}],
    }


def symbol_info(market: Market, symbol: str) -> dict[str, Any]:
    """What exchangeInfo says about a symbol that trades, with the fields that a recorder needs."""
    info = {"symbol": symbol, status_field(market): "TRADING"}
    if market is Market.SPOT:
        return info | {"isSpotTradingAllowed": True}
    pair, _, ending = symbol.partition("_")
    return info | {"pair": pair, "contractType": "CURRENT_QUARTER" if ending.isdigit() else "PERPETUAL"}


def status_field(market: Market) -> str:
    """The name of a symbol's status in exchangeInfo."""
    return "contractStatus" if market is Market.COIN_FUTURES else "status"


def delisted_status(market: Market) -> str:
    """The status of a symbol that trades no more."""
    return {Market.SPOT: "BREAK", Market.USDT_FUTURES: "SETTLING", Market.COIN_FUTURES: "DELIVERED"}[market]
