"""A producer's heartbeat and histograms, as Prometheus sees them."""

from collections.abc import Iterator, Mapping
from typing import Any

from producers.publish.publisher import Publisher
from shared.market import Market
from shared.metrics.measures import Family

_COUNTERS = {
    "frames": ("frames", "WebSocket frames received"),
    "candles": ("candles_received", "closed candles received over WebSocket"),
    "published": ("entries_published", "entries that the broker has answered for"),
    "published_again": ("entries_published_again", "entries that the broker had lost"),
    "taken_over": ("series_taken_over", "series that were another producer's"),
    "given_up": ("series_given_up", "series that became another producer's"),
    "refused": ("candles_refused", "candles that found no room while the broker was away"),
    "repaired": ("candles_repaired", "missing candles that were fetched over REST"),
    "absent": ("candles_absent", "candles that the exchange was found not to have"),
    "malformed": ("frames_malformed", "frames that are no kline although they should be"),
    "not_asked": ("frames_not_asked", "klines of channels that were not subscribed to"),
    "in_the_future": ("candles_in_the_future", "candles that were refused because they end in the future"),
    "silent_channels": ("channels_silent", "subscriptions that delivered nothing and were renewed"),
    "rest_requests": ("rest_requests", "REST requests"),
    "rest_weight": ("rest_weight", "weight of REST requests"),
    "rest_failures": ("rest_failures", "REST requests without a usable answer"),
    "rest_rows_refused": ("rest_rows_refused", "rows of REST answers that are no candle"),
}
_GAUGES = {
    "series": ("series", "series that are recorded"),
    "members": ("producers", "producers that share the market's series"),
    "connections": ("connections", "WebSocket connections that deliver"),
    "connections_wanted": ("connections_wanted", "WebSocket connections that should"),
    "missing": ("candles_missing", "candles that are beyond their grace and not here"),
    "due": ("candles_due", "candles that have ended and are within their grace"),
    "held": ("candles_held", "candles that wait for the broker"),
    "weight_used": ("rest_weight_used", "REST weight used in this minute by all behind this address"),
    "weight_limit": ("rest_weight_limit", "REST weight that the exchange allows a minute"),
    "rest_closed_seconds": ("rest_closed_seconds", "for how long nothing is asked over REST; 0: it is open"),
}
_TIMES = {
    "shortest_ms": ("shortest_interval_seconds", "the shortest interval that is recorded"),
    "event_time_ms": ("exchange_time_timestamp_seconds", "the exchange's time, as it was heard last"),
    "last_candle_end_ms": ("newest_received_close_timestamp_seconds", "end of the newest candle received"),
}


def families(market: Market, report: Mapping[str, Any], publisher: Publisher) -> Iterator[Family]:
    """What a heartbeat says, and how long publishing takes."""
    label = (str(market),)
    for kind, table in (("counter", _COUNTERS), ("gauge", _GAUGES)):
        for key, (name, meaning) in table.items():
            yield Family(name, kind, meaning, ("market",), {label: report.get(key)})
    for key, (name, meaning) in _TIMES.items():
        time_ms = report.get(key)
        yield Family(name, "gauge", meaning, ("market",), {label: time_ms / 1000 if time_ms else None})
    ends = {(*label, reason): count for reason, count in report.get("replaced", {}).items()}
    yield Family("reconnections", "counter", "connections that were replaced", ("market", "reason"), ends)
    meaning = "from a candle's close, by the exchange's time, to the broker's answer"
    yield Family("close_to_broker_seconds", "histogram", meaning, ("market",), {label: publisher.close_to_broker})
    yield Family("publish_seconds", "histogram", "one batch to the broker", ("market",), {label: publisher.batch})
