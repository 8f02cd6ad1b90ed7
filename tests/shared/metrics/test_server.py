"""What a process answers about itself, over real HTTP."""

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared.metrics.measures import Buckets, Family
from shared.metrics.server import Watched, watched
from shared.metrics.vitals import HANGS_AFTER_SECONDS, Vitals
from shared.settings.sections import MetricsSettings
from tests.support.ports import free_ports


class Hand:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def served(
    vitals: Vitals, families: Callable[[], list[Family]] = list, troubles: tuple[str, ...] = ()
) -> Iterator[str]:
    settings = MetricsSettings(port=free_ports(1))
    with watched(settings, Watched("spot", vitals, families, lambda: troubles)):
        yield f"http://127.0.0.1:{settings.port}"


def test_it_lives_while_its_loop_turns_and_is_ready_while_it_has_no_trouble() -> None:
    clock = Hand()
    vitals = Vitals(clock)
    with served(vitals) as address:
        assert httpx.get(f"{address}/healthz").text == "alive\n"
        begun = httpx.get(f"{address}/readyz")
        assert (begun.status_code, begun.text) == (503, "it has just been started\n")
        vitals.note({"troubles": []})
        ready = httpx.get(f"{address}/readyz")
        assert (ready.status_code, ready.text) == (200, "ready\n")
        vitals.note({"troubles": ["nothing heard", "2 candles are overdue"]})
        told = httpx.get(f"{address}/readyz")
        assert (told.status_code, told.text) == (503, "nothing heard\n2 candles are overdue\n")
        assert httpx.get(f"{address}/healthz").status_code == 200, "starting it again would not help"
        vitals.note({"troubles": []})
        clock.now += HANGS_AFTER_SECONDS + 1
        for path in ("healthz", "readyz"):
            hung = httpx.get(f"{address}/{path}")
            assert (hung.status_code, hung.text) == (503, "no sign of life for 61 s\n")


def test_what_another_thread_knows_counts_too() -> None:
    vitals = Vitals()
    vitals.note({"troubles": []})
    with served(vitals, troubles=("the broker does not answer",)) as address:
        assert httpx.get(f"{address}/readyz").text == "the broker does not answer\n"
        assert 'candlewick_ready{role="spot"} 0.0' in httpx.get(f"{address}/metrics").text
        assert httpx.head(f"{address}/readyz").status_code == 503


def test_what_breaks_while_it_is_asked_is_an_answer_and_a_line(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> list[Family]:
        raise RuntimeError("no figures")

    with served(Vitals(), broken) as address:
        assert httpx.get(f"{address}/metrics").status_code == 500
        assert httpx.get(f"{address}/healthz").status_code == 200
    assert caplog.messages == ["an internal error at /metrics"]


def test_figures_are_in_prometheus_s_form() -> None:
    buckets = Buckets((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7):
        buckets.observe(value)
    families = [
        Family("frames", "counter", "frames received", ("market",), {("spot",): 7}),
        Family("candles_due", "gauge", "candles", ("market",), {("spot",): 2, ("usdt_futures",): None}),
        Family("flush_seconds", "histogram", "a flush", (), {(): buckets}),
    ]
    with served(Vitals(), lambda: families) as address:
        answer = httpx.get(f"{address}/metrics")
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert found["candlewick_frames_total", "spot"] == 7
    assert found["candlewick_candles_due", "spot"] == 2
    assert ("candlewick_candles_due", "usdt_futures") not in found, "what is not known is left out"
    assert [found["candlewick_flush_seconds_bucket", bound] for bound in ("0.1", "1.0", "+Inf")] == [2, 3, 4]
    assert found["candlewick_flush_seconds_count",] == 4
    assert found["candlewick_ready", "spot"] == 0
    assert found["process_cpu_seconds_total",] > 0


def test_another_path_is_told_which_there_are_and_a_silent_client_holds_nobody_up() -> None:
    with served(Vitals()) as address:
        host, _, port = address.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))):
            answer = httpx.get(f"{address}/favicon.ico")
    assert (answer.status_code, answer.text) == (404, "/metrics, /healthz or /readyz\n")


def test_a_port_that_is_taken_is_said_and_no_reason_to_end(caplog: pytest.LogCaptureFixture, refused_port: int) -> None:
    caplog.set_level(logging.INFO)
    with watched(MetricsSettings(port=refused_port), Watched("spot", Vitals(), list)):
        pass
    assert caplog.messages == [f"no metrics at http://127.0.0.1:{refused_port}: Address already in use (metrics.port)"]


def test_each_role_has_a_port_of_its_own_and_port_0_none() -> None:
    roles = ("spot", "usdt_futures", "coin_futures", "writer")
    assert [MetricsSettings(port=9750).port_of(role) for role in roles] == [9750, 9751, 9752, 9753]
    assert [MetricsSettings(port=0).port_of(role) for role in roles] == [0, 0, 0, 0]
