"""The command line: help, errors, and what each command prints."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle
from tests.support.commands import COMMAND, Run
from tests.support.stores import DataFolder

REPOSITORY = Path(__file__).parents[3]

OPEN = (
    '{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1719765539838,"s":"BTCUSDT","k":{"t":1719765480000,'
    '"T":1719765539999,"s":"BTCUSDT","i":"1m","f":5122041311,"L":5122041720,"o":"61607.90","c":"61623.30",'
    '"h":"61623.30","l":"61605.30","v":"16.692","n":410,"x":false,"q":"1028411.77850","V":"12.553",'
    '"Q":"773414.33780","B":"0"}}}'
)
CLOSED = (
    '{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1719765540037,"s":"BTCUSDT","k":{"t":1719765480000,'
    '"T":1719765539999,"s":"BTCUSDT","i":"1m","f":5122041311,"L":5122041728,"o":"61607.90","c":"61624.90",'
    '"h":"61624.90","l":"61605.30","v":"16.710","n":418,"x":true,"q":"1029521.00470","V":"12.571",'
    '"Q":"774523.56400","B":"0"}}}'
)
NEXT = (
    '{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1719765540545,"s":"BTCUSDT","k":{"t":1719765540000,'
    '"T":1719765599999,"s":"BTCUSDT","i":"1m","f":5122041729,"L":5122041730,"o":"61624.90","c":"61625.00",'
    '"h":"61625.00","l":"61624.90","v":"0.026","n":2,"x":false,"q":"1602.24770","V":"0.003",'
    '"Q":"184.87500","B":"0"}}}'
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with ten candles."""
    store = DataFolder(tmp_path / "data")
    store.write(BTC, [make_candle(open_time_ms=JUNE_30 + at * MINUTE) for at in range(10)])
    store.close()
    return tmp_path / "data"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\ntry:\n import candlewick.cli.main as c; c.command_line()(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('pandas','pyarrow','numpy','redis','pydantic','aiohttp') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


def test_what_was_printed_before_an_error_arrives() -> None:
    code = (
        "import candlewick.cli.main as c\n"
        "from shared.errors import CandlewickError\n"
        "def fail(**_):\n print('half of it'); raise CandlewickError('no more')\n"
        "c.command_line = lambda _: fail\nc.main()"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (2, "half of it\n", "candlewick: no more\n")


def test_a_writer_starts_without_pandas() -> None:
    """It would be half of its start, and of the start of every command that looks at the dataset."""
    code = "import sys, consumer.writer; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"


RECORDING = ["up", "down", "status", "settings", "produce", "write", "broker", "health", "symbols"]
LOOKING = ["read", "audit", "backfill", "replay", "compact", "dead-letters", "watch", "parse", "simulate", "demo"]


@pytest.mark.parametrize("command", [*RECORDING, *LOOKING])
def test_every_command_explains_itself(candlewick: Run, command: str) -> None:
    done = candlewick(command, "--help")
    assert done.returncode == 0
    assert f"candlewick {command}" in done.stdout
    assert command in candlewick("--help").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dance"], "candlewick: No such command 'dance'."),
        (["--loud"], "candlewick: No such option: --loud"),
        (["read", "spot"], "candlewick read: Missing argument '[SYMBOL...] INTERVAL'."),
        (["produce", "sport"], "candlewick: market 'sport' is not known: spot, usdt_futures, coin_futures"),
        (["produce", "spot", "--share", "4/3"], "candlewick: share '4/3' is not of the form PART/PARTS"),
        (["read", "spot", "BTCUSDT", "7m"], "candlewick: interval '7m' is not known: 1s, 1m"),
        (["read", "spot", "BTCUSDT", "1m"], "candlewick: there is no store in data"),
        (["read", "spot", "A", "1m", "--format", "xml"], "candlewick: format 'xml' is not known: table, csv"),
        (["read", "spot", "A", "1m", "--from", "noon"], "candlewick: --from 'noon' is not a time of the form"),
        (["parse", "nothing.json"], "candlewick: nothing.json cannot be read: No such file"),
        (["simulate", "--speed", "-1"], "candlewick: speed '-1' is neither a number above 0 nor max"),
        (["simulate", "--klines", "."], "candlewick: . holds no klines"),
        (["simulate", "--symbols", "BTC"], "candlewick: symbols 'BTC' are not of the form MARKET:SYMBOL"),
        (["up", "--config", "none.toml"], "candlewick: settings file none.toml does not exist"),
        (["up", "--broker", "http://x"], "candlewick: broker.url: an address begins with redis://"),
        (["up", "--log-level", "loud"], "candlewick: log.level: 'LOUD' is not allowed, must be 'DEBUG'"),
        (["write", "--data", "file/below"], "candlewick: data folder file/below cannot be used: "),
        (["replay", "--into", "data"], "candlewick: data is in the data folder that is recorded to"),
        (["replay", "--into", "data/sub"], "candlewick: data/sub is in the data folder"),
        (["replay", "--into", "file"], "candlewick: file is not a folder"),
        (["replay", "--into", "x", "--broker", "redis://127.0.0.1:1"], "candlewick: redis://127.0.0.1:1 does not"),
        (["down", "--data", "file"], "candlewick: file/candlewick.pid: Not a directory"),
        (
            ["read", "spot", "A", "1m", "--from", "2024-01-02", "--to", "2024-01-01"],
            "candlewick: --to 2024-01-01T00:00",
        ),
        (["audit", "--from", "2024-01-02", "--to", "2024-01-01"], "candlewick: --to 2024-01-01T00:00"),
        (["read", "spot", "A", "1m", "--data", "file"], "candlewick: there is no store in file"),
        (["health", "producer"], "candlewick: role 'producer' is not known: spot, usdt_futures"),
        (["simulate", "--klines", "empty"], "candlewick: empty/spot/A-1m-x.csv holds no kline"),
        (["simulate", "--end", "2020-01-01"], "candlewick: the market ends at 2020-01-01 00:00:00+00:00, before"),
        (["watch", "spot", "A", "--simulator", "http://127.0.0.1:1"], "candlewick: cannot reach ws://127.0.0.1:1"),
        (["compact"], "candlewick: there is no store in data"),
        (["broker", "--config", "own-broker.toml"], "candlewick: the settings name a broker, redis://h"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    candlewick: Run, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "empty" / "spot").mkdir(parents=True)
    (tmp_path / "empty" / "spot" / "A-1m-x.csv").write_text("open_time,open\n")
    (tmp_path / "own-broker.toml").write_text('[broker]\nurl = "redis://user:secret@h"\n')
    done = candlewick(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr


def test_without_any_argument_help_is_shown(candlewick: Run) -> None:
    done = candlewick()
    assert done.returncode == 2
    assert "Usage: candlewick" in done.stdout + done.stderr


def test_the_version_is_the_project_s(candlewick: Run) -> None:
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert candlewick("--version").stdout == f"candlewick {project['version']}\n"


@pytest.mark.parametrize("content", [f"{OPEN}\n{CLOSED}\n{NEXT}", f"[{OPEN},{CLOSED},{NEXT}]"])
def test_of_the_three_reference_frames_only_the_closed_one_is_a_row(
    candlewick: Run, tmp_path: Path, content: str
) -> None:
    (tmp_path / "frames").write_text(content)
    lines = candlewick("parse", "frames").stdout.splitlines()
    assert lines[0] == "frame 1: no row: the kline is still open"
    assert lines[1] == "frame 2: usdt_futures BTCUSDT-1m"
    assert [line.split(maxsplit=1) for line in lines[2:13]] == [
        ["candle_end_time", "2024-06-30 16:39:00"],
        ["open", "61607.9"],
        ["high", "61624.9"],
        ["low", "61605.3"],
        ["close", "61624.9"],
        ["volume", "16.710"],
        ["quote_volume", "1029521.0047"],
        ["trade_num", "418"],
        ["taker_buy_base_asset_volume", "12.571"],
        ["taker_buy_quote_asset_volume", "774523.5640"],
        ["candle_begin_time", "2024-06-30 16:38:00"],
    ]
    assert lines[13:] == ["frame 3: no row: the kline is still open"]


def test_frames_without_a_row_say_why(candlewick: Run, tmp_path: Path) -> None:
    (tmp_path / "frames").write_text('{"e":"aggTrade"}\n{"result":null,"id":1}\n{\n{"e":"serverShutdown"}\n')
    assert [line.split(": ", 1)[1][:30] for line in candlewick("parse", "frames").stdout.splitlines()] == [
        "no row: aggTrade is not a klin",
        "no row: an answer to a message",
        "no row: malformed: not JSON: u",
        "no row: the exchange announces",
    ]


def test_read_prints_and_exports_in_every_format(candlewick: Run, data: Path, tmp_path: Path) -> None:
    series = ("read", "usdt_futures", "btcusdt", "1m", "--data", data)
    assert "2024-06-30 00:10:00" in candlewick(*series).stdout
    assert len(candlewick(*series, "--tail", 3, "--format", "csv").stdout.splitlines()) == 4
    two = ("--to", "2024-06-30T00:02")
    rows = json.loads(candlewick(*series, "--format", "json", *two).stdout)
    assert [row["candle_begin_time"] for row in rows] == ["2024-06-30T00:00:00Z", "2024-06-30T00:01:00Z"]
    lines = candlewick(*series, "--format", "jsonl", *two).stdout.splitlines()
    assert [json.loads(line) for line in lines] == rows
    done = candlewick(*series, "--format", "parquet", "--output", "out.parquet")
    assert done.stdout == "10 candles written to out.parquet\n"
    frame = pd.read_parquet(tmp_path / "out.parquet")
    assert frame.index.name == "candle_end_time"
    assert len(frame) == 10
    candlewick(*series, "--output", "out.csv")
    assert (tmp_path / "out.csv").read_text().startswith("candle_end_time,candle_begin_time,open"), "by its name"


def test_read_takes_patterns_and_ls_lists(candlewick: Run, data: Path) -> None:
    shown = candlewick("read", "all", "*usdt", "1m", "--resample", "5m", "--format", "jsonl", "--data", data)
    assert shown.stderr.startswith("candlewick: the embedded Valkey at ")
    assert shown.stderr.endswith("does not run: stored candles only\n")
    rows = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [(row["market"], row["symbol"], row["candle_end_time"][11:16]) for row in rows] == [
        ("usdt_futures", "BTCUSDT", "00:05"),
        ("usdt_futures", "BTCUSDT", "00:10"),
    ]
    arguments = ("usdt_futures", "1m", "--symbols", "*", "--wide", "--columns", "volume", "--tail", 2, "--data", data)
    assert candlewick("read", *arguments).stdout.splitlines() == [
        "candle_end_time      BTCUSDT",
        "2024-06-30 00:09:00    16.71",
        "2024-06-30 00:10:00    16.71",
    ]
    listed = candlewick("ls", "--data", data, "--stored-only")
    assert listed.stdout.splitlines()[1].split()[:5] == ["usdt_futures", "BTCUSDT-1m", "2024-06-30", "00:10", "10"]
    (row,) = json.loads(candlewick("ls", "usdt_futures", "BTC*", "--json", "--data", data).stdout)
    assert row["rows"] == 10
    assert candlewick("ls", "spot", "--data", data).stderr.splitlines()[-1].startswith("candlewick: spot was never")


def test_an_output_that_is_no_file_is_one_line_or_what_it_is(candlewick: Run, data: Path, tmp_path: Path) -> None:
    series = ("read", "usdt_futures", "btcusdt", "1m", "--stored-only", "--data", data, "--format", "csv", "--output")
    for place in (".", "/"):
        done = candlewick(*series, place)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done
    (tmp_path / "link.csv").symlink_to("real.csv")
    (tmp_path / "real.csv").touch()
    assert candlewick(*series, "link.csv").returncode == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert len((tmp_path / "real.csv").read_text().splitlines()) == 11
    unknown = candlewick("read", "spot", "XUSDT", "1m", "--data", data, "--format", "csv")
    assert (unknown.returncode, unknown.stdout) == (2, "")


def test_modules_in_the_working_folder_are_not_taken_for_ours(candlewick: Run, tmp_path: Path) -> None:
    for name in ("shared.py", "redis.py", "orjson.py"):
        (tmp_path / name).write_text("raise SystemExit('this is not yours')")
    done = candlewick("demo", "--seconds", 6, "--speed", 120)
    assert "recording 6 series" in done.stderr, done.stderr  # all six may not have come in so short a time
    assert "not yours" not in done.stderr + done.stdout


def test_an_output_that_refuses_is_one_line(data: Path) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123 # a device
        done = subprocess.run(
            [*COMMAND, "read", "usdt_futures", "BTCUSDT", "1m", "--stored-only", "--data", str(data)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (2, "candlewick: output: No space left on device\n")


def test_settings_lists_every_variable_with_its_value(candlewick: Run) -> None:
    lines = candlewick("settings", CANDLEWICK_WRITER_FLUSH_SECONDS="2").stdout.splitlines()
    assert "CANDLEWICK_WRITER_FLUSH_SECONDS=2.0" in lines
    assert "CANDLEWICK_BROKER_URL=" in lines


def test_status_without_a_broker_still_shows_the_store(candlewick: Run, data: Path) -> None:
    shown: Any = json.loads(candlewick("status", "--json", "--data", data).stdout)
    assert shown["broker"]["error"]
    assert shown["store"]["rows"] == 10
    text = candlewick("status", "--data", data)
    assert text.returncode == 3
    assert text.stdout.startswith("dead: the embedded Valkey at ")
    assert "not running (`candlewick up` starts it)" in text.stdout
    assert "usdt_futures BTCUSDT-1m" in text.stdout


def test_status_names_a_damaged_file_and_goes_on(candlewick: Run, data: Path) -> None:
    next(data.rglob("*.parquet")).write_bytes(b"damaged")
    done = candlewick("status", "--data", data)
    assert "usdt_futures BTCUSDT-1m" in done.stdout
    assert "arquet" in done.stdout


def test_compact_joins_what_is_over_and_says_how_much(candlewick: Run, data: Path) -> None:
    assert candlewick("compact", "--data", data).stdout == "joined 0 files into 0 months\n"
    store = DataFolder(data, 5, 0)
    store.write(BTC, [make_candle(open_time_ms=JUNE_30 + at * 1440 * MINUTE) for at in (-1, 5)])
    store.close()
    assert candlewick("compact", "--data", data).stdout == "joined 2 files into 1 month\n"
    assert "12 rows" in candlewick("status", "--data", data).stdout
