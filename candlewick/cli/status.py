"""``candlewick status``: what lives, what flows, what is stored."""

from typing import Any

from redis.exceptions import RedisError

from consumer.dataset.figures import store_overview, stream_overview
from shared.broker.client import broker_name, embedded_socket, sync_client
from shared.broker.heartbeat import heartbeats
from shared.broker.keys import Keys
from shared.interval import utc
from shared.market import Market
from shared.settings.model import Settings


def collect(settings: Settings) -> dict[str, Any]:
    """The state of the pipeline as plain values; times are ISO 8601 in UTC, sizes bytes, ages seconds."""
    keys = Keys(settings.broker.prefix)
    client = sync_client(settings)
    found: dict[str, Any] = {
        "broker": {"address": broker_name(settings), "error": None},
        "markets": {},
        "writers": [],
    }
    try:
        alive = heartbeats(client, keys)
        for market in Market:
            found["markets"][market.value] = {
                "groups": len(settings.groups(market)),
                "producers": [_producer(name, body) for (role, name), body in alive.items() if role == market],
                "stream": stream_overview(client, keys, market, settings.writer.group),
            }
        found["writers"] = [{"process": name, **body} for (role, name), body in alive.items() if role == "writer"]
    except (RedisError, OSError) as error:
        found["broker"]["error"] = "not running (`candlewick up` starts it)" if _is_absent(settings) else str(error)
    finally:
        client.close()
    found["store"] = _store(settings)
    return found


def _is_absent(settings: Settings) -> bool:
    return not settings.broker.url and not embedded_socket(settings).exists()


def _producer(name: str, body: dict[str, Any]) -> dict[str, Any]:
    end_ms = body.pop("last_candle_end_ms", None)
    return {"process": name, **body, "last_candle_end": _iso(end_ms) if end_ms else None}


def _store(settings: Settings) -> dict[str, Any]:
    overview = store_overview(settings.candles_folder)
    return {
        "folder": str(settings.candles_folder),
        "rows": sum(one.rows for one in overview),
        "bytes": sum(one.size for one in overview),
        "series": [
            {
                "market": one.series.market.value,
                "symbol": one.series.symbol,
                "interval": one.series.interval.value,
                "files": one.files,
                "rows": one.rows,
                "bytes": one.size,
                "newest_end": _iso(one.newest_end_ms) if one.newest_end_ms is not None else None,
                "error": one.error,
            }
            for one in overview
        ],
    }


def _iso(time_ms: int) -> str:
    return utc(time_ms).isoformat()


_SERIES_SHOWN = 30


def render(found: dict[str, Any]) -> str:
    """``collect``'s answer for a terminal."""
    broker = found["broker"]
    lines = [f"broker  {broker['address']}  {broker['error'] or 'answers'}"]
    for market, state in found["markets"].items():
        lines += ["", f"{market}", *_market_lines(state)]
    lines += ["", *_writer_lines(found)]
    store = found["store"]
    lines += [
        "",
        f"store   {store['folder']}  {len(store['series'])} series, {store['rows']:,} rows, {store['bytes']:,} bytes",
    ]
    for one in store["series"][:_SERIES_SHOWN]:
        name = f"{one['market']} {one['symbol']}-{one['interval']}"
        lines.append(
            f"  {name:<36} {one['rows']:>10,} rows {one['bytes']:>12,} bytes {one['files']:>4} files"
            f"  {one['error'] or 'newest ' + str(one['newest_end'])}"
        )
    if len(store["series"]) > _SERIES_SHOWN:
        lines.append(f"  … and {len(store['series']) - _SERIES_SHOWN} more (--json shows all)")
    return "\n".join(lines)


def _market_lines(state: dict[str, Any]) -> list[str]:
    lines = []
    if not state["producers"]:
        lines.append(f"  no producer lives ({state['groups']} groups in the settings)")
    for one in state["producers"]:
        lines.append(
            f"  producer {one['process']}  share {one['share']}  {one['series']} series, "
            f"{one['connections']} of {one['connections_wanted']} connections, "
            f"{one['frames_per_minute']:g} frames and {one['candles_per_minute']:g} candles a minute"
        )
        if one["last_candle"]:
            lines.append(f"    last candle {one['last_candle']} at {one['last_candle_end']}")
        lines.append(
            f"    complete but for {one['missing']} missing candles and {one['due']} just due; {one['repaired']:,} "
            f"repaired, {one['absent']:,} absent at the exchange"
        )
        if one["rest_status"]:
            lines.append(
                f"    REST answers {one['rest_status']}: nothing is asked for {one['rest_closed_seconds']:g} s more"
            )
        lines.append(
            f"    REST {one['rest_requests']:,} requests of weight {one['rest_weight']:,}, "
            f"weight this minute {one['weight_used']:,} of {one['weight_limit']:,}"
        )
        troubles = {
            name: one[name]
            for name in (
                *("held", "refused", "published_again", "malformed", "silent_channels"),
                *("rest_failures", "rest_rows_refused"),
            )
            if one.get(name)
        }
        if troubles:
            lines.append("    " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in troubles.items()))
    stream = state["stream"]
    age = (
        f", the oldest for {stream['oldest_pending_seconds']:g} s"
        if stream["oldest_pending_seconds"] is not None
        else ""
    )
    lines.append(
        f"  stream {stream['entries']:,} entries kept, {stream['unread']:,} unread, "
        f"{stream['pending']:,} pending{age}, {stream['dead_letters']} dead letters"
    )
    return lines


def _writer_lines(found: dict[str, Any]) -> list[str]:
    lines = []
    for one in found["writers"]:
        lines.append(
            f"writer  {one['process']}  {one['written']:,} candles written, {one['written_per_minute']:g} a minute, "
            f"last flush {one['flush_seconds']:g} s, {one['waiting']} waiting"
        )
        if one["failure"]:
            lines.append(f"  {one['failure']}")
    return lines or ["writer  none lives"]
