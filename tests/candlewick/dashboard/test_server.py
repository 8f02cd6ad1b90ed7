"""What the dashboard's server answers, refuses, and sends; without a browser."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from candlewick.dashboard.names import Names
from candlewick.dashboard.page_files import FOLDER, page_files
from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from tests.support.candles import BTC, JUNE_30, MINUTE
from tests.support.commands import Run
from tests.support.ports import free_ports
from tests.support.recorded import Recorded, absent, began, minutes
from tests.support.waiting import wait_until

KEY = "market=usdt_futures&symbol=BTCUSDT&interval=1m"
Serve = Callable[..., str]
Event = tuple[str, str, Any]


@contextmanager
def events(address: str, after: str = "", series: str = KEY) -> Iterator[Iterator[Event]]:
    """A page's events as name, id and data; those without data have no name."""
    with httpx.stream("GET", f"{address}/api/events?{series}", headers={"Last-Event-ID": after}, timeout=20) as answer:
        assert answer.status_code == 200, answer.read()
        yield _parsed(answer.iter_lines())


def _parsed(lines: Iterator[str]) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
        elif fields:
            yield fields.get("event", ""), fields.get("id", ""), json.loads(fields.get("data", "null"))
            fields = {}


def first(found: Iterator[Event], name: str) -> Event:
    return next(event for event in found if event[0] == name)


def opened(event: Event) -> list[int]:
    return [(row[0] - JUNE_30) // MINUTE for row in event[2]]


def test_nothing_is_lost_between_history_and_what_is_live(recorded: Recorded, serve: Serve) -> None:
    recorded.store([began(), *minutes(10)])
    recorded.publish(minutes(2, 10))
    address = serve(recorded)
    with events(address) as found:
        _, at, _ = first(found, "load")
        assert at
        recorded.publish(minutes(1, 12))  # after the position was taken, before history is read
        piece = httpx.get(f"{address}/api/candles?{KEY}&count=5").json()
        assert [(row[0] - JUNE_30) // MINUTE for row in piece["candles"]] == [8, 9, 10, 11, 12]
        assert piece["more"]
        assert opened(first(found, "candles")) == [12]


def test_a_page_that_was_away_goes_on_behind_its_last_event(recorded: Recorded, serve: Serve) -> None:
    recorded.store([began(), *minutes(10)])
    recorded.publish(minutes(2, 10))
    address = serve(recorded)
    with events(address) as found:
        first(found, "load")
        recorded.publish(minutes(1, 12))
        _, at, _ = first(found, "candles")
    recorded.publish([*minutes(1, 13), *minutes(1, 2), *minutes(1, 14)])  # one of them late
    with events(address, after=at) as found:
        assert opened(first(found, "candles")) == [13, 2, 14]


@pytest.mark.parametrize("after", ["5-0", "99999999999999-0", "nonsense"])
def test_a_position_that_is_gone_means_to_load_anew(recorded: Recorded, serve: Serve, after: str) -> None:
    recorded.store([began(), *minutes(10)])
    recorded.publish(minutes(2, 10))
    address = serve(recorded)
    with events(address, after=after) as found:
        first(found, "load")
        recorded.empty_broker()
        recorded.publish(minutes(1, 20))
        first(found, "load")
        recorded.publish(minutes(1, 21))
        assert opened(first(found, "candles")) == [21]


def test_what_others_publish_moves_a_page_s_position_on(recorded: Recorded, serve: Serve) -> None:
    other = Series(Market.USDT_FUTURES, "ETHUSDT", Interval.M1)
    recorded.store([began(), *minutes(10)])
    recorded.publish(minutes(1, 10))
    address = serve(recorded)
    with events(address) as found:
        first(found, "load")
        recorded.publish(minutes(1, 10, series=other))
        _, at, data = first(found, "")
    assert data is None
    recorded.trim_to_the_last()
    with events(address, after=at) as found:
        recorded.publish(minutes(1, 11))
        assert opened(first(found, "candles")) == [11]


def test_facts_of_the_series_are_told(recorded: Recorded, serve: Serve) -> None:
    recorded.store([began(), *minutes(5), *minutes(1, 7)])
    address = serve(recorded)
    with events(address) as found:
        first(found, "load")
        recorded.publish([absent(5, 2)])
        assert first(found, "facts")[2] == [[JUNE_30 + 5 * MINUTE, JUNE_30 + 7 * MINUTE]]
    gaps = httpx.get(f"{address}/api/candles?{KEY}").json()["gaps"]
    assert [(gap["kind"], gap["candles"]) for gap in gaps] == [("absent", 2)]


def test_history_comes_in_pieces_that_fit_each_other_with_the_gaps_between_them(
    recorded: Recorded, serve: Serve
) -> None:
    recorded.store([began(), *minutes(4), absent(4, 2), *minutes(4, 6), *minutes(3, 13)])
    address = serve(recorded)
    found, gaps, before = list[int](), list[tuple[str, int]](), ""
    while True:
        piece = httpx.get(f"{address}/api/candles?{KEY}&count=3{before}").json()
        found = [(row[0] - JUNE_30) // MINUTE for row in piece["candles"]] + found
        gaps += [(gap["kind"], gap["candles"]) for gap in piece["gaps"]]
        if not piece["more"]:
            break
        before = f"&before={piece['candles'][0][0]:.0f}"
    assert found == [0, 1, 2, 3, 6, 7, 8, 9, 13, 14, 15]
    assert gaps == [("missing", 3), ("absent", 2)]


def test_every_series_has_a_strip_of_its_last_days(recorded: Recorded, serve: Serve) -> None:
    day = 1440
    recorded.store([began(), *minutes(day), *minutes(5, day), absent(day + 5), *minutes(day - 6, day + 6)])
    recorded.store([*minutes(2, 3 * day), began(Series(Market.SPOT, "BTCUSDT", Interval.M1))])
    address = serve(recorded)
    with events(address) as found:
        wait_until(lambda: first(found, "series")[2]["version"] >= 2)
        answer = httpx.get(f"{address}/api/series").json()
    spot, usdt = answer["series"]
    assert (spot["market"], usdt["symbol"], usdt["files"]) == ("spot", "BTCUSDT", 3)
    assert usdt["strip"] == "." * 26 + "raMr"
    assert answer["first_day"] + 29 * day * MINUTE == JUNE_30 + 3 * day * MINUTE
    assert usdt["state"] == "recorded"
    assert 0 < usdt["missing"] <= day  # the youngest may still be on their way


REFUSED = (
    ("/api/candles?market=spott&symbol=BTCUSDT&interval=1m", 400, "spott"),
    ("/api/candles?market=spot&symbol=BTCUSDT&interval=7m", 400, "7m"),
    ("/api/candles?market=spot&symbol=NEVER&interval=1m", 400, "never recorded"),
    (f"/api/candles?{KEY}&count=0", 400, "count 0 is not a number from 1 to 5000"),
    (f"/api/candles?{KEY}&before=soon", 400, "before 'soon' is not a whole number"),
    (f"/api/candles?{KEY}&before=99999999999999", 200, ""),
    ("/api/events?market=spot", 400, "symbol"),
    ("/page/../server.py", 404, ""),
    ("/page/%2e%2e/server.py", 404, ""),
    ("/page/..%2fserver.py", 404, ""),
    ("/page/vendor/package-lock.json", 404, ""),
    ("/page/%00.js", 404, ""),
    ("/page/tsconfig.json", 404, ""),
    ("/nowhere", 404, ""),
)


def test_what_cannot_be_answered_is_refused_in_a_line(recorded: Recorded, serve: Serve) -> None:
    recorded.store([began(), *minutes(3)])
    address = serve(recorded)
    for path, status, text in REFUSED:
        answer = httpx.get(address + path)
        assert (answer.status_code, text in answer.text) == (status, True), (path, answer.text)
        assert status == 200 or len(answer.text.splitlines()) == 1


def test_it_is_read_only_and_keeps_itself_to_its_own_names(recorded: Recorded, serve: Serve) -> None:
    recorded.store([began(), *minutes(3)])
    address = serve(recorded)
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert httpx.request(method, f"{address}/api/series").status_code == 405
    assert httpx.head(f"{address}/api/events").status_code == 405
    refused = httpx.get(address, headers={"Host": "evil.example"})
    assert (refused.status_code, "dashboard.names" in refused.text) == (421, True)
    assert httpx.get(address, headers={"Host": f"localhost:{address.rpartition(':')[2]}"}).status_code == 200
    first_time = httpx.get(f"{address}/page/main.js")
    again = httpx.get(f"{address}/page/main.js", headers={"If-None-Match": first_time.headers["ETag"]})
    assert (first_time.status_code, again.status_code, again.content) == (200, 304, b"")
    for path in ("/", "/page/main.js", "/api/series", "/nowhere"):
        headers = httpx.get(address + path).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; ")
        assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("localhost", True),
        ("LOCALHOST:9760", True),
        ("127.0.0.1:9760", True),
        ("[::1]:9760", True),
        ("192.168.1.5:9760", True),
        ("candles.example:443", True),
        ("evil.example", False),
        ("evil.example/localhost", False),
        ("localhost@evil.example", False),
        ("evil.example:localhost", False),
        ("localhost.evil.example", False),
        ("", False),
        ("[", False),
    ],
)
def test_its_names_are_its_own_and_addresses_in_numbers(host: str, is_ours: bool) -> None:
    assert Names(["candles.example", "0.0.0.0"]).fit(host) is is_ours


def test_the_page_is_found_below_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(FOLDER)
    assert page_files(tmp_path / "link").keys() == page_files().keys() >= {"index.html", "main.js", "style.css"}


def test_so_many_pages_and_no_more_and_one_that_closes_makes_room(recorded: Recorded, serve: Serve) -> None:
    recorded.store([began(), *minutes(3)])
    address = serve(recorded)
    with ExitStack() as pages:
        every = [pages.enter_context(events(address, series="")) for _ in range(32)]
        assert {first(found, "state")[0] for found in every} == {"state"}
        assert httpx.get(f"{address}/api/events").status_code == 503

    def has_room() -> bool:
        with httpx.stream("GET", f"{address}/api/events") as answer:
            return answer.status_code == 200

    wait_until(has_room)


def test_without_a_broker_what_is_stored_is_shown(recorded: Recorded, serve: Serve, refused_port: int) -> None:
    recorded.store([began(), *minutes(10)])
    away = f"redis://127.0.0.1:{refused_port}/0"
    recorded.settings = recorded.settings.model_copy(
        update={"broker": recorded.settings.broker.model_copy(update={"url": away})}
    )
    address = serve(recorded)
    with events(address) as found:
        first(found, "load")
        assert first(found, "state")[2]["health"]["state"] == "dead"
        piece = httpx.get(f"{address}/api/candles?{KEY}").json()
    assert (len(piece["candles"]), piece["stored_only"]) == (10, True)


def test_where_nothing_is_recorded_yet_it_serves_and_shows_what_comes(recorded: Recorded, serve: Serve) -> None:
    address = serve(recorded)
    with events(address, series="") as found:
        first(found, "state")
        assert httpx.get(f"{address}/api/series").json()["series"] == []
        recorded.store([began(), *minutes(2)])
        wait_until(lambda: first(found, "series")[2]["version"] >= 1)
    assert httpx.get(f"{address}/api/series").json()["series"][0]["symbol"] == BTC.symbol


def test_a_port_that_is_taken_is_said_in_a_line(candlewick: Run, recorded: Recorded, serve: Serve) -> None:
    taken = serve(recorded).rpartition(":")[2]
    done = candlewick("dashboard", "--port", taken)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"cannot listen on 127.0.0.1, port {taken}" in done.stderr
    assert "dashboard.port" in done.stderr


def test_a_term_ends_it_in_good_order_with_pages_open(recorded: Recorded, start: Any) -> None:
    port = free_ports(1)
    process = start("dashboard", "--data", recorded.settings.data.folder, "--port", port)
    wait_until(lambda: _is_there(port))
    with events(f"http://127.0.0.1:{port}", series="") as found:
        first(found, "state")
        process.terminate()
        assert process.wait(15) == 0


def _is_there(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").is_success
    except httpx.TransportError:
        return False
