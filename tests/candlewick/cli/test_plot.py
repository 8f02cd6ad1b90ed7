"""Candles drawn in a terminal and into files, and the status that is shown anew."""

import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from candlewick.cli.pictures import Candles, lines_of
from candlewick.cli.watching import shown
from consumer.storage.table import rows_from_candles, to_arrow
from shared.interval import Interval
from shared.settings.model import Settings
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle
from tests.support.commands import COMMAND, Run
from tests.support.stores import DataFolder
from tests.support.waiting import wait_until

TERMINAL = {"COLUMNS": "80", "LINES": "24"}


def candles(*minutes: int) -> Candles:
    rows = rows_from_candles([make_candle(BTC, JUNE_30 + minute * MINUTE) for minute in minutes]).rows
    return Candles.of(to_arrow(rows, Interval.M1), "1m")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = DataFolder(tmp_path / "data")
    folder.write(BTC, [make_candle(BTC, JUNE_30 + minute * MINUTE) for minute in (*range(40), *range(50, 60))])
    folder.close()
    return folder.data


def test_a_candle_stands_at_its_place_in_time_and_what_is_missing_leaves_a_gap() -> None:
    some = candles(0, 1, 2, 10)
    assert some.places.tolist() == [0, 1, 2, 10]
    assert some.last(9).places.tolist() == [2, 10]
    assert some.ticks(3) == ([0, 1, 10], ["00:00", "00:01", "00:10"])
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines_of(candles(*range(20), *range(40, 60)), "x", 80, 23)]
    volume = lines[-2].partition("┤")[2]
    assert re.fullmatch(r" *█{17,} {17,}█{17,} *│", volume), lines


def test_the_plot_fits_the_terminal_and_tells_the_newest_close(candlewick: Run, data: Path) -> None:
    done = candlewick("plot", "usdt_futures", "BTCUSDT", "1m", "--data", data, "--stored-only", **TERMINAL)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in done.stdout.splitlines()]
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    assert lines[0] == "usdt_futures BTCUSDT 1m: 61624.9 at 2024-06-30 00:59 UTC"


@pytest.mark.parametrize(("form", "begin"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("html", b"<!doctype html>")])
def test_a_picture_is_what_its_name_says(candlewick: Run, data: Path, tmp_path: Path, form: str, begin: bytes) -> None:
    output = tmp_path / f"btc.{form}"
    question = ("plot", "usdt_futures", "BTCUSDT", "1m", "--resample", "5m", "--data", data, "--stored-only")
    done = candlewick(*question, "--output", output)
    assert (done.returncode, done.stdout) == (0, f"{output}: 10 candles\n"), done.stderr
    assert output.read_bytes().startswith(begin)


def test_what_cannot_be_drawn_is_one_line(candlewick: Run, data: Path) -> None:
    question = ("plot", "usdt_futures", "BTCUSDT", "1m", "--data", data, "--stored-only")
    done = candlewick(*question, "--output", "btc.gif")
    assert (done.returncode, done.stderr) == (
        2,
        "candlewick: btc.gif is no picture that can be made: .png, .svg, .html\n",
    )
    done = candlewick(*question, "--from", "2024-07-01")
    assert (done.returncode, done.stderr) == (2, "candlewick: usdt_futures BTCUSDT-1m has no candle in that time\n")


def test_the_status_that_is_watched_fits_the_terminal(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    for number in range(40):
        series = BTC._replace(symbol=f"S{number}USDT")
        folder.write(series, [make_candle(series, JUNE_30)])
    folder.close()
    text = shown(make_settings(), 24)
    lines = text.plain.splitlines()
    assert len(lines) == 24
    assert lines[0].startswith("dead: no producer of spot lives")
    assert re.fullmatch(r"… \d+ more lines", lines[-2])
    assert re.fullmatch(r"as of \d\d:\d\d:\d\d UTC", lines[-1])
    assert str(text.spans[0].style) == "bold red"
    assert len(shown(make_settings(), None).plain.splitlines()) > 40


def test_watching_goes_on_until_ctrl_c(data: Path) -> None:
    ours, theirs = pty.openpty()
    command = [*COMMAND, "status", "--watch", "--every", "0.2", "--data", str(data)]
    with subprocess.Popen(
        command, stdout=theirs, stderr=subprocess.PIPE, env=os.environ | {"TERM": "xterm"}
    ) as process:
        os.close(theirs)
        seen = b""
        while seen.count(b"as of ") < 3:
            seen += os.read(ours, 65_536)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        errors = process.stderr.read()
        assert process.wait(20) == 130
    os.close(ours)
    assert errors == b""
    assert b"dead" in seen


def test_scales_have_texts_of_one_width() -> None:
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines_of(candles(*range(30)), "x", 60, 20)]
    axes = {line.index("┤") for line in lines if "┤" in line}
    assert len(axes) == 1


def test_a_status_that_is_watched_into_a_file_is_there_again_and_again(data: Path, tmp_path: Path) -> None:
    log = tmp_path / "status.txt"
    command = [*COMMAND, "status", "--watch", "--every", "0.2", "--data", str(data)]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output) as process:
        wait_until(lambda: log.read_bytes().count(b"as of ") >= 2, 60)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
