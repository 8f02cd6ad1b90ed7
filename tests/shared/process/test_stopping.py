"""One request to stop, its echoes, and a second one."""

import signal

import pytest

from shared.process.stopping import SAME_STOP_SECONDS, StopRequests, stop_signals


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
