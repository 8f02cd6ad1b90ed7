"""``candlewick status``: how well it does, which processes live, what streams hold, and what is stored, in lines."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from candlewick.checks.health import State
from candlewick.cli.columns import columns
from shared.source import shown
from shared.text import counted, printable, without_passwords

_SERIES_SHOWN = 30
_ALL = "1/1"
_TROUBLES = (
    *("held", "refused", "published_again", "malformed", "not_asked", "in_the_future", "silent_channels"),
    *("rest_failures", "rest_rows_refused"),
)


def exit_code(found: Mapping[str, Any]) -> int:
    """What the command leaves with: 0 when all is well, 1 when something is not, 3 when nothing is recorded."""
    return State(found["health"]["state"]).exit_code


def render(found: Mapping[str, Any]) -> str:
    """``collect``'s answer for a terminal."""
    return "\n".join(printable(without_passwords(line), None) for line in _lines(found))


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield from _health_lines(found)
    broker = found["broker"]
    yield from ("", f"broker  {broker['address']}", f"        {broker['error'] or 'answers'}")
    if found["markets"]:
        yield from ("", *columns(list(_producer_rows(found["markets"]))))
        yield from ("", *columns(list(_stream_rows(found["markets"]))), "")
    for market, stored in found["store"]["sources"].items():
        state = found["markets"].get(market, {"producers": []})
        sources = [*stored, *(producer["source"] for producer in state["producers"] if "source" in producer)]
        source = shown(list(dict.fromkeys(sources)))
        yield from [f"{market}: {source}"] if source else []
        yield from (f"{market}: {note}" for note in _sharing(state["producers"]))
        for producer in state["producers"]:
            yield from (f"{market}: {note}" for note in _notes(producer))
    for writer in found["writers"]:
        written = f"{counted(writer['written'], 'candle')} written, {writer['written_per_minute']:g} a minute"
        differ = f", {counted(writer['conflicts'], 'candle')} came in two versions" if writer["conflicts"] else ""
        yield f"writer  {writer['process']}: {written}, {writer['waiting']:,} waiting{differ}"
    if not found["writers"]:
        yield "writer  none lives"
    yield from _store_lines(found["store"])


def _health_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """How well it does in the first line, with the first reason; every other reason below it."""
    state, reasons = found["health"]["state"], found["health"]["reasons"]
    if reasons:
        yield f"{state}: {reasons[0]}"
        yield from (f"  {reason}" for reason in reasons[1:])
        return
    producers = [producer for market in found["markets"].values() for producer in market["producers"]]
    series = sum(producer["series"] for producer in producers)
    newest = max((producer["last_candle_end"] for producer in producers if producer["last_candle_end"]), default=None)
    yield f"{state}: {series} series" + (f", newest candle to {newest}" if newest else "")


def _producer_rows(markets: Mapping[str, Any]) -> Iterator[list[str]]:
    """A row a producer; its process where a market has several."""
    yield ["", "series", "connected", "a minute", "missing", "due", "repaired", "absent"]
    for market, state in markets.items():
        for producer in state["producers"]:
            is_one = len(state["producers"]) == 1
            part = "" if producer["share"] == _ALL else f" {producer['share']}"
            counts = [f"{producer[name]:,}" for name in ("missing", "due", "repaired", "absent")]
            yield [
                market if is_one else f"{market} {producer['process']}{part}",
                f"{producer['series']:,}",
                f"{producer['connections']} of {producer['connections_wanted']}",
                f"{producer['candles_per_minute']:g}",
                *counts,
            ]
        if not state["producers"]:
            yield [market, "none lives" if state["groups"] else "not recorded", *[""] * 6]


def _stream_rows(markets: Mapping[str, Any]) -> Iterator[list[str]]:
    yield ["", "kept", "unread", "pending", "unstored for", "dead letters", "REST weight"]
    for market, state in markets.items():
        stream, producers = state["stream"], state["producers"]
        age = stream["oldest_unstored_seconds"]
        counts = [f"{stream[name]:,}" for name in ("entries", "unread", "pending")]
        weight = f"{producers[0]['weight_used']:,} of {producers[0]['weight_limit']:,}" if producers else ""
        yield [market, *counts, "" if age is None else f"{age:g} s", f"{stream['dead_letters']:,}", weight]


def _sharing(producers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """How several producers share a market's series."""
    if len(producers) > 1:
        wanted, hosts = max(producer["wanted"] for producer in producers), {producer["host"] for producer in producers}
        taken_over = sum(producer["taken_over"] for producer in producers)
        who = f"{len(producers)} producers on {counted(len(hosts), 'host')} share {wanted:,} series"
        yield f"{who}; {taken_over:,} taken over since they started"


def _notes(producer: Mapping[str, Any]) -> Iterator[str]:
    """What else is worth a line of a producer."""
    if producer["rest_status"]:
        closed = f"nothing is asked for {producer['rest_closed_seconds']:g} s more"
        yield f"REST answers {producer['rest_status']}: {closed}"
    counts = [f"{name.replace('_', ' ')} {producer[name]:,}" for name in _TROUBLES if producer.get(name)]
    if counts:
        yield ", ".join(counts)


def _store_lines(store: Mapping[str, Any]) -> Iterator[str]:
    if not store["exists"]:
        yield f"store   there is none in {Path(store['folder']).parent}"
        return
    yield f"store   {store['folder']}: {len(store['series'])} series, {store['rows']:,} rows, {store['bytes']:,} bytes"
    shown_series = store["series"][:_SERIES_SHOWN]
    yield from columns(
        [
            [
                f"  {series['market']} {series['symbol']}-{series['interval']}",
                counted(series["rows"], "row"),
                series["error"] or f"to {series['newest_end']}",
            ]
            for series in shown_series
        ]
    )
    if len(store["series"]) > _SERIES_SHOWN:
        yield f"  … and {len(store['series']) - _SERIES_SHOWN} more (--json shows all)"
