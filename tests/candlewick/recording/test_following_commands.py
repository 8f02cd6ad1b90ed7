"""``candlewick follow`` and ``wait`` as a shell has them."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from tests.support.candles import JUNE_30, MINUTE
from tests.support.commands import Run, Start
from tests.support.recorded import Recorded, began, minutes
from tests.support.servers import RealServer
from tests.support.waiting import wait_until

ETH = Series(Market.USDT_FUTURES, "ETHUSDT", Interval.M1)


def minutes_of(path: Path) -> list[int]:
    """The minutes of a file's whole lines."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    times = [json.loads(line)["candle_begin_time"] for line in lines if line.endswith("\n")]
    return [int(time[11:13]) * 60 + int(time[14:16]) for time in times]


def test_a_file_has_each_candle_once_however_often_its_follower_is_killed(
    recorded: Recorded, environment: dict[str, str], start: Start, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    recorded.store(minutes(3))
    arguments = ("follow", "usdt_futures", "BTCUSDT", "--from", "2024-06-30", "--name", "me", "--output", output)
    expected = 3
    for at in range(3):
        following = start(*arguments, **environment)
        wait_until(lambda: len(minutes_of(output)) >= expected, 60)  # noqa: B023 # called at once
        recorded.publish(minutes(40, first=expected))
        expected += 40
        if at:
            wait_until(lambda: len(minutes_of(output)) > expected - 40, 60)  # noqa: B023
        following.send_signal(signal.SIGKILL)
        following.wait(10)
        with output.open("ab") as file:
            file.write(b'{"candle_begin_time": "half a li')
    following = start(*arguments, **environment)
    wait_until(lambda: len(minutes_of(output)) == expected and output.read_text().endswith("\n"), 60)
    following.send_signal(signal.SIGTERM)
    following.wait(10)
    assert minutes_of(output) == list(range(expected))
    assert not any(json.loads(line)["again"] for line in output.read_text().splitlines())


def test_a_broker_that_is_not_there_yet_is_waited_for(
    recorded: Recorded,
    environment: dict[str, str],
    start: Start,
    make_server: Callable[..., RealServer],
    tmp_path: Path,
) -> None:
    recorded.store(minutes(3))
    server = make_server()
    server.kill()
    arguments = ("follow", "usdt_futures", "--from", "2024-06-30", "--count", 3)
    following = start(*arguments, **environment | {"CANDLEWICK_BROKER_URL": server.url})
    wait_until(lambda: "waiting for it" in (tmp_path / "log").read_text(), 60)
    server.start()
    assert following.wait(60) == 0


def test_a_command_runs_for_each_candle_and_one_that_fails_gets_it_again(
    recorded: Recorded, environment: dict[str, str], candlewick: Run, tmp_path: Path
) -> None:
    recorded.store(minutes(3))
    arguments = ("follow", "usdt_futures", "--from", "2024-06-30", "--name", "me")
    script = tmp_path / "run.sh"
    script.write_text("cat >> seen\ntest $(wc -l < seen) -ne 2\n")
    done = candlewick(*arguments, "--exec", f"sh {script}", **environment)
    assert (done.returncode, done.stderr) == (2, f"candlewick: --exec sh {script} left with 1\n")
    assert candlewick(*arguments, "--exec", f"sh {script}", "--count", 2, **environment).returncode == 0
    seen = [json.loads(line) for line in (tmp_path / "seen").read_text().splitlines()]
    assert [(line["candle_begin_time"][14:16], line["again"]) for line in seen] == [
        *(("00", False), ("01", False), ("01", True), ("02", False)),
    ]
    assert candlewick("follow", "usdt_futures", "--name", "me", "--forget", **environment).stdout == "me is forgotten\n"
    again = candlewick("follow", "usdt_futures", "--name", "me", "--forget", **environment)
    assert (again.returncode, again.stderr) == (2, "candlewick: nobody follows usdt_futures as 'me'\n")


def test_wait_leaves_when_the_last_close_is_complete_or_names_what_is_missing(
    recorded: Recorded, environment: dict[str, str], candlewick: Run
) -> None:
    nothing = candlewick("wait", "usdt_futures", "1m", **environment)
    assert (nothing.returncode, nothing.stderr) == (
        2,
        "candlewick: nothing of usdt_futures is published: is it being recorded?\n",
    )
    recorded.store([began(), began(ETH), *minutes(5), *minutes(4, series=ETH)])
    now = time.time_ns() // 1_000_000
    close: dict[str, Any] = {"event_time_ms": JUNE_30 + 5 * MINUTE + 40, "receive_time_ms": now}
    recorded.publish(minutes(1, first=4, **close))
    done = candlewick("wait", "usdt_futures", "1m", "--timeout", 0, **environment)
    assert (done.returncode, done.stdout) == (1, "2024-06-30 00:05:00 1 candle, absent 0, missing 1: ETHUSDT\n")
    recorded.publish(minutes(1, first=4, series=ETH, **close))
    done = candlewick("wait", "usdt_futures", "1m", **environment)
    assert (done.returncode, done.stdout) == (0, "2024-06-30 00:05:00 2 candles, absent 0\n")
