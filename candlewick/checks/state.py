"""The state of a pipeline: what its processes say, what its streams hold, what is stored, and how well that is."""

from typing import Any

from redis.exceptions import RedisError

from candlewick.checks.health import judge
from consumer.dataset.dataset import Dataset
from consumer.dataset.figures import series_figures
from consumer.group.streams import stream_figures
from shared.broker.address import broker_name, embedded_socket
from shared.broker.client import sync_client
from shared.broker.heartbeat import heartbeats
from shared.broker.keys import Keys
from shared.interval import utc
from shared.market import Market
from shared.settings.model import Settings

_COUNTS = (
    *("series", "connections", "connections_wanted", "candles_per_minute", "missing", "due", "repaired", "absent"),
    *("weight_used", "weight_limit", "rest_closed_seconds", "wanted", "taken_over"),
)
_UNSAID: dict[str, Any] = {"share": "1/1", "host": "", "rest_status": None} | dict.fromkeys(_COUNTS, 0)
"""What a producer of another version may not say in its heartbeat."""


def collect(settings: Settings, *, with_store: bool = True) -> dict[str, Any]:
    """The state of the pipeline as plain values; times are ISO 8601 in UTC, sizes bytes, ages seconds.

    What is stored is left out on request: to look at all files of thousands of series takes a while.
    """
    keys = Keys(settings.broker.prefix)
    client = sync_client(settings)
    broker: dict[str, Any] = {"address": broker_name(settings), "error": None}
    found: dict[str, Any] = {"health": {}, "broker": broker, "markets": {}, "writers": []}
    try:
        alive = heartbeats(client, keys)
        for market in Market:
            found["markets"][market.value] = {
                "groups": len(settings.groups(market)),
                "producers": [_producer(name, body) for (role, name), body in alive.items() if role == market],
                "stream": stream_figures(client, keys, market, settings.writer.group),
            }
        found["writers"] = [
            {"process": name, **dict.fromkeys(("written", "written_per_minute", "waiting", "conflicts"), 0), **body}
            for (role, name), body in alive.items()
            if role == "writer"
        ]
    except (RedisError, OSError) as error:
        has_broker = settings.broker.url or embedded_socket(settings).exists()
        broker["error"] = str(error) if has_broker else "not running (`candlewick up` starts it)"
    finally:
        client.close()
    if with_store:
        found["store"] = _store(settings)
    verdict = judge(found, settings)
    found["health"] = {"state": verdict.state.value, "reasons": list(verdict.reasons)}
    return found


def _producer(name: str, body: dict[str, Any]) -> dict[str, Any]:
    end_ms = body.pop("last_candle_end_ms", None)
    return {"process": name, **_UNSAID, **body, "last_candle_end": _iso(end_ms) if end_ms else None}


def _store(settings: Settings) -> dict[str, Any]:
    dataset = Dataset.of(settings)
    overview = [series_figures(dataset, series) for series in dataset.series()]
    return {
        "folder": settings.dataset_name,
        "exists": bool(settings.data.store) or settings.candles_folder.is_dir(),
        "rows": sum(figures.rows for figures in overview),
        "bytes": sum(figures.size for figures in overview),
        "sources": {market.value: list(dataset.sources(market)) for market in Market},
        "series": [
            {
                "market": figures.series.market.value,
                "symbol": figures.series.symbol,
                "interval": figures.series.interval.value,
                "files": figures.files,
                "rows": figures.rows,
                "bytes": figures.size,
                "newest_end": _iso(figures.newest_end_ms) if figures.newest_end_ms is not None else None,
                "error": figures.error,
            }
            for figures in overview
        ],
    }


def _iso(time_ms: int) -> str:
    return utc(time_ms).isoformat()
