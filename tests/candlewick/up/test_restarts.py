"""What ends again and again is started ever more seldom, and said once."""

import logging

import pytest

from candlewick.up.restarts import Restarts


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_what_fails_for_an_hour_is_tried_ever_more_seldom_and_said_a_few_times(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    monkeypatch.setattr("candlewick.up.restarts.time.monotonic", clock)
    restarts, tries = Restarts("the broker"), 0
    while clock.now < 1000 + 3600:
        clock.now += 0.2
        if restarts.is_due:
            tries += 1
            restarts.note_start()
            restarts.note_end("cannot be started: No space left on device")
    assert 100 < tries < 700, "half a minute apart at most, a spread of half of that"
    assert len(caplog.records) < 6
    restarts.note_start()
    clock.now += 60
    caplog.clear()
    restarts.note_end("cannot be started: No space left on device")
    assert [record.levelno for record in caplog.records] == [logging.ERROR], "it had lived for a minute: said again"
