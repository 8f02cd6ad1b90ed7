"""How well it does, judged from what processes say and streams hold."""

from typing import Any

import pytest

from candlewick.checks.health import State, Verdict, judge, judge_role
from shared.settings.load import load_settings

SETTINGS = load_settings()


def producer(share: str = "1/1", *troubles: str) -> dict[str, Any]:
    return {"share": share, "troubles": troubles}


def found(*producers: dict[str, Any], **stream: Any) -> dict[str, Any]:
    """A pipeline of one market with a writer, all well but for what is named."""
    figures = {"dead_letters": 0, "unread": 0, "pending": 0, "oldest_unstored_seconds": None} | stream
    market = {"groups": 1, "producers": list(producers), "stream": figures}
    return {"broker": {"address": "a", "error": None}, "markets": {"spot": market}, "writers": [{"troubles": []}]}


def test_what_records_and_stores_is_well() -> None:
    assert judge(found(producer()), SETTINGS) == Verdict(State.RECORDING)
    assert judge(found(producer("1/2"), producer("2/2")), SETTINGS) == Verdict(State.RECORDING)
    assert judge(found(producer(), unread=7, oldest_unstored_seconds=20.0), SETTINGS) == Verdict(State.RECORDING)


@pytest.mark.parametrize(
    ("pipeline", "state", "reason"),
    [
        (found(producer("1/1", "silence")), State.DEGRADED, "spot: silence"),
        (found(producer("2/3"), producer("1/3")), State.DEGRADED, "no producer of spot lives that has share 3/3"),
        (found(producer(), dead_letters=2), State.DEGRADED, "2 dead letters wait: `candlewick dead-letters list`"),
        (
            found(producer(), unread=7, pending=1, oldest_unstored_seconds=121.0),
            State.DEGRADED,
            "spot: 8 entries wait to be stored, the oldest for 121 s",
        ),
        (found(), State.DEAD, "no producer of spot lives"),
        (found(producer()) | {"writers": []}, State.DEAD, "no writer lives"),
        (found() | {"broker": {"address": "redis://x", "error": "refused"}}, State.DEAD, "redis://x: refused"),
    ],
)
def test_what_is_not_well_is_told_with_its_reason(pipeline: dict[str, Any], state: State, reason: str) -> None:
    assert judge(pipeline, SETTINGS) == Verdict(state, [reason])
    assert state.exit_code == {State.DEGRADED: 1, State.DEAD: 3}[state]


def test_a_market_that_is_not_recorded_needs_no_producer() -> None:
    pipeline = found()
    pipeline["markets"]["spot"]["groups"] = 0
    assert judge(pipeline, SETTINGS) == Verdict(State.RECORDING)


def test_a_role_is_judged_by_what_its_own_processes_say_and_the_writer_by_the_streams_too() -> None:
    late = found(producer(), unread=1, oldest_unstored_seconds=500.0)
    assert judge_role("spot", [], late, SETTINGS) == Verdict(State.DEAD, ["no spot lives on this host"])
    assert judge_role("spot", [producer("1/1", "silence")], late, SETTINGS) == Verdict(State.DEGRADED, ["silence"])
    assert judge_role("spot", [producer()], late, SETTINGS) == Verdict(State.RECORDING, [])
    assert judge_role("writer", [{"troubles": []}], late, SETTINGS).state is State.DEGRADED
