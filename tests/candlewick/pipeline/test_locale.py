"""Names of any script, in any locale: files and output are UTF-8 always."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.commands import Run, Start
from tests.support.pipeline import BASE, GROUPS, series_of, write_settings
from tests.support.waiting import wait_until

NAME = "币安人生USDT"


EIGHT_BIT = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # Python would not use UTF-8 by itself


def locales(tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """Environments of 8-bit locales; that of Latin 1 where there is something to make it from."""
    yield {"LC_ALL": "C", **EIGHT_BIT}
    path = tmp_path / "locales" / "en_US.ISO-8859-1"
    path.parent.mkdir(parents=True)
    if shutil.which("localedef") is not None and Path("/usr/share/i18n/charmaps").is_dir():
        subprocess.run(["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(path)], check=True)
        yield {"LOCPATH": str(path.parent), "LC_ALL": path.name, **EIGHT_BIT}


def test_what_is_recorded_is_audited_read_and_shown(
    start: Start,
    simulator: Callable[..., str],
    candlewick: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = simulator("--speed", 240, "--start", BASE, "--updates", 0)
    write_settings(tmp_path, address, GROUPS)
    with monkeypatch.context() as eight_bit:
        for name, value in next(locales(tmp_path / "unused")).items():
            eight_bit.setenv(name, value)
        up = start("up")
    log = tmp_path / "log"
    wait_until(lambda: all(log.read_text().count(f"Record {one} at") > 2 for one in series_of(GROUPS)), 60)
    up.send_signal(signal.SIGINT)
    assert up.wait(15) == 0
    assert "Traceback" not in log.read_text()
    first = next(locales(tmp_path / "unused"))
    audited = json.loads(candlewick("audit", "--json", **first).stdout)
    assert {(one["market"], one["symbol"], one["interval"]) for one in audited} == {
        (one.market.value, one.symbol, one.interval.value) for one in series_of(GROUPS)
    }
    assert all(one["stored"] for one in audited)
    for command in (("audit", "usdt_futures", NAME), ("symbols", "list", "usdt_futures")):
        done = candlewick(*command, **first)
        assert NAME in done.stdout, done
        assert done.stderr == ""
    for locale in locales(tmp_path):
        done = candlewick("status", **locale)
        assert NAME in done.stdout, done
        assert done.stderr == ""
        shown = candlewick("read", "usdt_futures", NAME, "1m", "--tail", "1", "--stored-only", **locale)
        assert (shown.returncode, shown.stderr) == (0, "")
    code = f"import candlewick; print(len(candlewick.read_candles('usdt_futures', {NAME!a}, '1m', data='data')))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **locale}
    )
    assert int(done.stdout) > 2
