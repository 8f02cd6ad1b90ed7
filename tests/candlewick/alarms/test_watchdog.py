"""The watchdog on a real pipeline, whose messages arrive at a real receiver by Apprise."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from candlewick.alarms.conditions import conditions
from candlewick.checks.state import collect
from shared.broker.heartbeat import beat
from shared.broker.keys import Keys
from shared.market import Market
from shared.settings.model import Settings
from tests.support.commands import Run, Start
from tests.support.pipeline import BASE, GROUPS, psutil_family, write_settings
from tests.support.waiting import wait_until


class Receiver(ThreadingHTTPServer):
    """Takes messages in Apprise's JSON, and keeps them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taker)
        self.messages: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.server_port}/a-token"

    def lines(self) -> list[str]:
        return [line for message in self.messages for line in message["message"].splitlines()]


class Taker(BaseHTTPRequestHandler):
    """One connection to it."""

    def do_POST(self) -> None:
        assert isinstance(self.server, Receiver)
        self.server.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_what_is_lost_is_told_once_and_so_is_its_return(
    start: Start, simulator: Callable[..., str], tmp_path: Path, receiver: Receiver
) -> None:
    address = simulator("--speed", 120, "--start", BASE, "--updates", 1)
    alarm = {"urls": [receiver.url], "look_seconds": 0.3, "lasting_seconds": 1, "pause_seconds": 1}
    write_settings(tmp_path, address, GROUPS, alarm=alarm)
    up = start("up", "--simulator", address, "--mix-sources", "--log-level", "INFO")  # the watchdog takes all flags
    log = tmp_path / "log"
    wait_until(lambda: "Record spot BTCUSDT-1m at" in log.read_text(), 60)
    wait_until(lambda: "watching; 1 to be told" in log.read_text(), 30)
    began = len(receiver.messages)
    (spot,) = (one for one in psutil_family(tmp_path, "produce") if "spot" in one.cmdline())
    spot.send_signal(signal.SIGSTOP)  # its heartbeat expires after a quarter of a minute
    wait_until(lambda: "no producer of spot lives" in receiver.lines(), 60)
    spot.send_signal(signal.SIGCONT)
    wait_until(lambda: "all clear: no producer of spot lives" in receiver.lines(), 60)
    told = receiver.messages[began:]
    up.send_signal(signal.SIGTERM)
    assert up.wait(20) == 0
    lines = [line for message in told for line in message["message"].splitlines()]
    assert lines.count("no producer of spot lives") == 1
    assert lines.count("all clear: no producer of spot lives") == 1
    assert {message["type"] for message in told} == {"failure", "success"}
    assert receiver.messages[began:] == told, "an orderly end is no reason for an alarm"
    assert "a-token" not in log.read_text()


def test_a_machine_that_is_gone_is_noticed_elsewhere(
    start: Start, tmp_path: Path, receiver: Receiver, refused_port: int
) -> None:
    alarm = {"urls": [receiver.url], "look_seconds": 0.2, "lasting_seconds": 0.5}
    write_settings(
        tmp_path, "http://127.0.0.1:1", GROUPS, alarm=alarm, broker={"url": f"redis://127.0.0.1:{refused_port}"}
    )
    watchdog = start("watchdog")
    wait_until(lambda: bool(receiver.messages), 60)
    (message,) = receiver.messages
    assert message["title"].endswith(": 1 alarm")
    assert message["message"].startswith(f"redis://127.0.0.1:{refused_port}: ")
    watchdog.send_signal(signal.SIGTERM)
    assert watchdog.wait(15) == 0


def test_each_trouble_has_a_key_that_stays_the_same(make_settings: Callable[..., Settings], client: Any) -> None:
    settings = make_settings()
    keys, now = Keys(settings.broker.prefix), 1_800_000_000.0
    body = {
        "share": "1/1",
        "source": "binance",
        "troubles": ["nothing heard for 40 s", "500 candles are overdue, of 500 series"],
        "kinds": ["silent", "overdue"],
        "rest_status": 429,
        "given_way": ["spot REST: https://b is used, https://a gave way"],
        "event_time_ms": int(now * 1000),
    }
    beat(client, keys, "spot", body)
    beat(client, keys, "usdt_futures", body | {"kinds": [], "troubles": [], "event_time_ms": int(now * 1000) - 90_000})
    beat(client, keys, "writer", {"troubles": ["No space left on device"]})
    client.xadd(keys.dead_letters(Market.SPOT), {"reason": "x"})
    found, is_hidden = conditions(collect(settings, with_store=False), settings, now, free_bytes=10**9)
    assert set(found) == {
        "disk",
        "dead letters",
        "writer:failure",
        "coin_futures:producer",
        "spot:silent",
        "spot:overdue",
        "spot:rest",
        "spot:address:spot REST",
        "usdt_futures:rest",
        "usdt_futures:address:spot REST",
        "usdt_futures:clock",
    }
    assert found["usdt_futures:clock"] == "usdt_futures: this host's clock is 90 s ahead of the exchange's"
    assert found["disk"].endswith("is nearly full: 1.0 GB free")
    hidden = ("coin_futures:silent", "coin_futures:clock"), ("coin_futures:producer", "spot:silent", "disk", "writer")
    assert [[is_hidden(key) for key in keys] for keys in hidden] == [[True] * 2, [False] * 4]


def test_while_the_broker_is_away_nobody_knows_whether_other_troubles_are_over(
    make_settings: Callable[..., Settings], refused_port: int
) -> None:
    settings = make_settings(broker={"url": f"redis://127.0.0.1:{refused_port}"})
    found, is_hidden = conditions(collect(settings, with_store=False), settings, 0.0, free_bytes=None)
    assert set(found) == {"broker"}
    assert is_hidden("dead letters")
    assert not is_hidden("disk")


@pytest.mark.parametrize("body", ["{", "[]", "{}", '{"share": "x"}', "7"])
def test_a_heartbeat_that_is_none_ends_nobody(
    make_settings: Callable[..., Settings], client: Any, candlewick: Run, body: str
) -> None:
    settings = make_settings()
    keys = Keys(settings.broker.prefix)
    for role in ("spot", "writer"):
        client.set(keys.heartbeat(role, "here-1"), body)
    conditions(collect(settings, with_store=False), settings, 0.0, free_bytes=None)
    environment = {"CANDLEWICK_BROKER_URL": settings.broker.url, "CANDLEWICK_BROKER_PREFIX": settings.broker.prefix}
    done = candlewick("status", **environment)
    assert (done.returncode, done.stderr) == (3, "")


def test_whether_people_can_be_told_is_tried(
    candlewick: Run, receiver: Receiver, refused_port: int, tmp_path: Path
) -> None:
    urls = json.dumps([receiver.url, f"json://127.0.0.1:{refused_port}/another-token"])
    done = candlewick("alarm", "test", CANDLEWICK_ALARM_URLS=urls)
    assert (done.returncode, done.stdout) == (1, "alarm.urls.0: took it\nalarm.urls.1: did not take it\n")
    assert "token" not in done.stdout + done.stderr
    assert [message["message"] for message in receiver.messages] == ["This is how an alarm comes."]
    wrong = candlewick("alarm", "test", CANDLEWICK_ALARM_URLS='["tgram://secret"]')
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)
    assert "alarm.urls.0" in wrong.stderr
    assert "secret" not in wrong.stderr
    bare = candlewick("alarm", "test", CANDLEWICK_ALARM_URLS='["110201543:secret"]')
    assert bare.returncode == 2
    assert "110201543" not in bare.stderr
    assert candlewick("up", CANDLEWICK_ALARM_URLS='["110201543:secret"]').returncode == 2, "before anything starts"
    assert not (tmp_path / "data").exists()
    nobody = candlewick("watchdog")
    assert (nobody.returncode, nobody.stderr) == (
        2,
        "candlewick: nobody is to be told: name addresses under [alarm] urls\n",
    )
    shown = candlewick("settings", CANDLEWICK_ALARM_URLS=urls).stdout
    assert "CANDLEWICK_ALARM_URLS=2 addresses\n" in shown
