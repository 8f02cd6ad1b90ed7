"""``candlewick status``: which processes live, what the streams hold, and what is stored."""

from collections.abc import Iterator, Mapping
from typing import Any

from redis.exceptions import RedisError

from candlewick.cli.options import iso
from consumer.dataset.dataset import Dataset
from consumer.dataset.figures import series_figures
from consumer.group.streams import stream_figures
from shared.broker.client import broker_name, embedded_socket, sync_client
from shared.broker.heartbeat import heartbeats
from shared.broker.keys import Keys
from shared.market import Market
from shared.settings.model import Settings

_SERIES_SHOWN = 30
_TROUBLES = (
    *("held", "refused", "published_again", "malformed", "silent_channels"),
    *("rest_failures", "rest_rows_refused"),
)


def collect(settings: Settings) -> dict[str, Any]:
    """The state of the pipeline as plain values; times are ISO 8601 in UTC, sizes bytes, ages seconds."""
    keys = Keys(settings.broker.prefix)
    client = sync_client(settings)
    broker: dict[str, Any] = {"address": broker_name(settings), "error": None}
    found: dict[str, Any] = {"broker": broker, "markets": {}, "writers": []}
    try:
        alive = heartbeats(client, keys)
        for market in Market:
            found["markets"][market.value] = {
                "groups": len(settings.groups(market)),
                "producers": [_producer(name, body) for (role, name), body in alive.items() if role == market],
                "stream": stream_figures(client, keys, market, settings.writer.group),
            }
        found["writers"] = [{"process": name, **body} for (role, name), body in alive.items() if role == "writer"]
    except (RedisError, OSError) as error:
        has_broker = settings.broker.url or embedded_socket(settings).exists()
        broker["error"] = str(error) if has_broker else "not running (`candlewick up` starts it)"
    finally:
        client.close()
    found["store"] = _store(settings)
    return found


def _producer(name: str, body: dict[str, Any]) -> dict[str, Any]:
    end_ms = body.pop("last_candle_end_ms", None)
    return {"process": name, **body, "last_candle_end": iso(end_ms) if end_ms else None}


def _store(settings: Settings) -> dict[str, Any]:
    dataset = Dataset.in_folder(settings.data.folder)
    overview = [series_figures(dataset, series) for series in dataset.series()]
    return {
        "folder": str(settings.candles_folder),
        "rows": sum(figures.rows for figures in overview),
        "bytes": sum(figures.size for figures in overview),
        "series": [
            {
                "market": figures.series.market.value,
                "symbol": figures.series.symbol,
                "interval": figures.series.interval.value,
                "files": figures.files,
                "rows": figures.rows,
                "bytes": figures.size,
                "newest_end": iso(figures.newest_end_ms) if figures.newest_end_ms is not None else None,
                "error": figures.error,
            }
            for figures in overview
        ],
    }


def render(found: Mapping[str, Any]) -> str:
    """``collect``'s answer for a terminal."""
    return "\n".join(_lines(found))


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    broker, store = found["broker"], found["store"]
    yield f"broker  {broker['address']}  {broker['error'] or 'answers'}"
    for market, state in found["markets"].items():
        yield from ("", f"{market}")
        if not state["producers"]:
            yield f"  no producer lives ({state['groups']} groups in the settings)"
        for producer in state["producers"]:
            yield from _producer_lines(producer)
        yield _stream_line(state["stream"])
    yield ""
    for writer in found["writers"]:
        yield (
            f"writer  {writer['process']}  {writer['written']:,} candles written, {writer['written_per_minute']:g} a "
            f"minute, last flush {writer['flush_seconds']:g} s, {writer['waiting']} waiting"
        )
        if writer["failure"]:
            yield f"  {writer['failure']}"
    if not found["writers"]:
        yield "writer  none lives"
    yield ""
    yield f"store   {store['folder']}  {len(store['series'])} series, {store['rows']:,} rows, {store['bytes']:,} bytes"
    for series in store["series"][:_SERIES_SHOWN]:
        name = f"{series['market']} {series['symbol']}-{series['interval']}"
        yield (
            f"  {name:<36} {series['rows']:>10,} rows {series['bytes']:>12,} bytes {series['files']:>4} files"
            f"  {series['error'] or 'newest ' + str(series['newest_end'])}"
        )
    if len(store["series"]) > _SERIES_SHOWN:
        yield f"  … and {len(store['series']) - _SERIES_SHOWN} more (--json shows all)"


def _producer_lines(producer: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"  producer {producer['process']}  share {producer['share']}  {producer['series']} series, "
        f"{producer['connections']} of {producer['connections_wanted']} connections, "
        f"{producer['frames_per_minute']:g} frames and {producer['candles_per_minute']:g} candles a minute"
    )
    if producer["last_candle"]:
        yield f"    last candle {producer['last_candle']} at {producer['last_candle_end']}"
    yield (
        f"    {producer['missing']} candles missing, {producer['due']} due; {producer['repaired']:,} repaired, "
        f"{producer['absent']:,} absent at the exchange"
    )
    if producer["rest_status"]:
        closed = f"nothing is asked for {producer['rest_closed_seconds']:g} s more"
        yield f"    REST answers {producer['rest_status']}: {closed}"
    yield (
        f"    REST {producer['rest_requests']:,} requests of weight {producer['rest_weight']:,}, "
        f"weight this minute {producer['weight_used']:,} of {producer['weight_limit']:,}"
    )
    troubles = [f"{name.replace('_', ' ')} {producer[name]}" for name in _TROUBLES if producer.get(name)]
    if troubles:
        yield "    " + ", ".join(troubles)


def _stream_line(stream: Mapping[str, Any]) -> str:
    age_seconds = stream["oldest_pending_seconds"]
    age = f", the oldest for {age_seconds:g} s" if age_seconds is not None else ""
    return (
        f"  stream {stream['entries']:,} entries kept, {stream['unread']:,} unread, "
        f"{stream['pending']:,} pending{age}, {stream['dead_letters']} dead letters"
    )
