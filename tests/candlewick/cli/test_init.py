"""A settings file by three questions, or by flags."""

import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from shared.settings.load import load_settings
from tests.support.commands import COMMAND, Run


def test_by_flags_it_is_written_and_says_what_is_next(candlewick: Run) -> None:
    flags = ("--record", "spot:btcusdt,*USDC", "--record", "coin_futures:BTCUSD_PERP", "--interval", "1m,1h")
    done = candlewick("init", *flags, "--history", "3d", "--data", "candles here")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "candlewick.toml: 4 series and '*USDC' of spot, coin_futures. Next: `candlewick check`, then `candlewick up`\n"
    )
    settings = load_settings()
    assert settings.history == "3d"
    assert settings.data.folder == Path("candles here")
    assert [(group.market, group.symbols) for group in settings.record] == [
        ("spot", ("BTCUSDT", "*USDC")),
        ("coin_futures", ("BTCUSD_PERP",)),
    ]
    again = candlewick("init", "--yes")
    assert (again.returncode, len(again.stderr.splitlines())) == (2, 1)
    assert load_settings() == settings, "nothing is replaced unasked"
    assert candlewick("init", "--yes", "--force").returncode == 0
    assert load_settings().history == ""


def test_what_stands_there_as_a_comment_is_what_holds_without_it(candlewick: Run, tmp_path: Path) -> None:
    assert candlewick("init", "--yes").returncode == 0
    text = (tmp_path / "candlewick.toml").read_text()
    (tmp_path / "all.toml").write_text(re.sub(r"^# ([a-z_]+ = )", r"\1", text, flags=re.MULTILINE))
    assert load_settings(tmp_path / "all.toml") == load_settings(tmp_path / "candlewick.toml").model_copy(
        update={"history": "7d"}
    )
    assert max(map(len, text.splitlines())) < 250


def test_three_questions_are_asked_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen([*COMMAND, "init"], stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        for question, answer in ((b"record", b"spot:ETHUSDT"), (b"intervals", b"1m,5m"), (b"far back", b"")):
            while question not in seen.rpartition(b"\n")[2]:
                seen += os.read(ours, 1024)
            os.write(ours, answer + b"\n")
        assert process.wait(20) == 0
    os.close(ours)
    settings = load_settings()
    assert (settings.recorded, settings.history) == ("2 series of spot", "")


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--record", "spot"), "'spot' is not of the form MARKET:SYMBOL,SYMBOL"),
        (("--record", "stock:AAPL"), "stock"),
        (("--record", "usdt_futures:BTCUSDT", "--interval", "1s"), "1s is spot's alone"),
        (("--history", "long"), "history: 'long' is not allowed"),
        (("--output", "no/such/folder.toml"), "cannot be written"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    candlewick: Run, tmp_path: Path, flags: tuple[str, ...], named: str
) -> None:
    done = candlewick("init", "--yes", *flags)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert named in done.stderr
    assert list(tmp_path.iterdir()) == []
