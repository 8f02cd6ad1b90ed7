"""One request to stop, its echoes, and a second one."""

import asyncio
import signal

import pytest

import shared.process.stopping
from shared.process.stopping import SAME_STOP_SECONDS, StopRequests, cancel, stop_signals


async def test_a_task_that_swallows_its_cancellation_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a library does that meets it in a time-out of its own."""
    monkeypatch.setattr(shared.process.stopping, "_TOLD_AGAIN_SECONDS", 0.01)
    told: list[int] = []

    async def stubborn() -> None:
        while len(told) < 3:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                told.append(1)

    async def failing() -> None:
        raise ZeroDivisionError

    tasks = [asyncio.create_task(stubborn()), asyncio.create_task(failing())]
    await asyncio.sleep(0)
    await asyncio.wait_for(cancel(tasks), 20)
    assert len(told) == 3


def test_the_first_stops_its_echoes_change_nothing_and_a_later_one_wants_the_end() -> None:
    now = [100.0]
    requests = StopRequests(lambda: now[0])
    assert not requests.asked
    assert requests.ask() == "stop"
    assert requests.asked
    now[0] += SAME_STOP_SECONDS
    assert requests.ask() == "echo"
    now[0] += 0.1
    assert requests.ask() == "again"


def test_a_hangup_that_nohup_ignores_is_left_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.SIG_DFL)
    assert signal.SIGHUP in stop_signals()
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.SIG_IGN)
    assert stop_signals() == (signal.SIGTERM, signal.SIGINT)
