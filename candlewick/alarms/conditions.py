"""What is worth an alarm in the state of a pipeline: a line a kind of trouble, of each market. Pure.

However many series a trouble has it is one alarm, whose text counts them.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from candlewick.checks.health import missing_shares
from consumer.group.streams import waits_too_long
from shared.settings.model import Settings
from shared.source import is_simulated
from shared.text import counted

_SKEW_SECONDS = 60.0
_KNOWN_WITHOUT = (":producer", ":unstored")  # what is known of a market without a producer that tells


class Conditions(NamedTuple):
    """What was seen in one look.

    Attributes:
        alarms: texts by keys, which stay the same while a trouble lasts, however its text changes.
        is_hidden: whether a key's trouble could not be looked at: nobody knows whether it is over.
    """

    alarms: dict[str, str]
    is_hidden: Callable[[str], bool]


def conditions(found: Mapping[str, Any], settings: Settings, now_seconds: float, free_bytes: int | None) -> Conditions:
    """What is worth an alarm.

    Args:
        found: as ``candlewick.checks.state.collect`` finds it.
        settings: what should be recorded, and how patient to be.
        now_seconds: this host's clock, in UTC.
        free_bytes: room on the data folder's disk; None where it is not on this host.
    """
    alarms = dict[str, str]()
    if free_bytes is not None and free_bytes < settings.alarm.least_free_gb * 1e9:
        alarms["disk"] = f"the disk of {settings.data.folder} is nearly full: {free_bytes / 1e9:.1f} GB free"
    if found["broker"]["error"]:
        alarms["broker"] = f"{found['broker']['address']}: {found['broker']['error']}"
        return Conditions(alarms, lambda key: key != "disk")
    for market, state in found["markets"].items():
        alarms |= dict(_of_market(market, state, settings, now_seconds))
    alarms |= dict(_of_writers(found))
    lost = {market for market, state in found["markets"].items() if state["groups"] and not state["producers"]}
    return Conditions(alarms, lambda key: key.partition(":")[0] in lost and not key.endswith(_KNOWN_WITHOUT))


def _of_writers(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not found["writers"]:
        yield "writer", "no writer lives"
    for writer in found["writers"]:
        for trouble in writer.get("troubles", ()):
            yield "writer:failure", f"writer: {trouble}"
    letters = sum(state["stream"]["dead_letters"] for state in found["markets"].values())
    if letters:
        text = counted(letters, "dead letter waits", "dead letters wait")
        yield "dead letters", f"{text}: `candlewick dead-letters list`"


def _of_market(
    market: str, state: Mapping[str, Any], settings: Settings, now_seconds: float
) -> Iterator[tuple[str, str]]:
    if state["groups"] and not state["producers"]:
        yield f"{market}:producer", f"no producer of {market} lives"
    text = waits_too_long(market, state["stream"], settings.writing)
    if text is not None:
        yield f"{market}:unstored", text
    yield from ((f"{market}:{share}", share) for share in missing_shares({"markets": {market: state}}))
    for producer in state["producers"]:
        yield from _of_producer(market, producer, now_seconds)


def _of_producer(market: str, producer: Mapping[str, Any], now_seconds: float) -> Iterator[tuple[str, str]]:
    kinds = producer.get("kinds", ())
    for kind, text in zip(kinds, producer.get("troubles", ()), strict=False):
        yield f"{market}:{kind}", f"{market}: {text}"
    if producer.get("rest_status"):
        yield f"{market}:rest", f"{market}: REST answers {producer['rest_status']}, and is not asked for a while"
    for text in producer.get("given_way", ()):
        yield f"{market}:address:{text.partition(':')[0]}", text
    exchange_ms = producer.get("event_time_ms") or 0
    if exchange_ms and "silent" not in kinds and not is_simulated(producer.get("source", "")):
        skew = now_seconds - exchange_ms / 1000
        if abs(skew) > _SKEW_SECONDS:
            side = "ahead of" if skew > 0 else "behind"
            yield f"{market}:clock", f"{market}: this host's clock is {abs(skew):.0f} s {side} the exchange's"
