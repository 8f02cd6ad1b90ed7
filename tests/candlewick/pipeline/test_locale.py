"""Names of any script, in any locale: files and output are UTF-8 always."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.support.commands import Run, Start
from tests.support.pipeline import BASE, GROUPS, series_of, write_settings
from tests.support.waiting import wait_until

NAME = "币安人生USDT"


@pytest.fixture(params=["C", "ISO-8859-1"])
def locale(request: pytest.FixtureRequest, tmp_path: Path) -> Mapping[str, str]:
    """Environment of an 8-bit locale in which Python would not use UTF-8 by itself."""
    eight_bit = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    if request.param == "C":
        return {"LC_ALL": "C", **eight_bit}
    if shutil.which("localedef") is None or not Path("/usr/share/i18n/charmaps").is_dir():
        pytest.skip("there is nothing here to make such a locale from")
    path = tmp_path / "locales" / "en_US.ISO-8859-1"
    path.parent.mkdir()
    subprocess.run(["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(path)], check=True)
    return {"LOCPATH": str(path.parent), "LC_ALL": path.name, **eight_bit}


def test_what_is_recorded_is_audited_read_and_shown(
    start: Start,
    simulator: Callable[..., str],
    candlewick: Run,
    tmp_path: Path,
    locale: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = simulator("--speed", 120, "--start", BASE, "--updates", 0)
    write_settings(tmp_path, address, GROUPS)
    for name, value in locale.items():
        monkeypatch.setenv(name, value)
    up = start("up")
    log = tmp_path / "log"
    wait_until(lambda: all(log.read_text().count(f"Record {one} at") > 2 for one in series_of(GROUPS)), 60)
    up.send_signal(signal.SIGINT)
    assert up.wait(15) == 0
    assert "Traceback" not in log.read_text()
    audited = json.loads(candlewick("audit", "--json", **locale).stdout)
    assert {(one["market"], one["symbol"], one["interval"]) for one in audited} == {
        (one.market.value, one.symbol, one.interval.value) for one in series_of(GROUPS)
    }
    assert all(one["stored"] for one in audited)
    assert candlewick("read", "usdt_futures", NAME, "1m", "--tail", "1", **locale).returncode == 0
    for command in (("status",), ("audit",), ("audit", "usdt_futures", NAME), ("symbols", "list", "usdt_futures")):
        done = candlewick(*command, **locale)
        assert NAME in done.stdout, done
        assert done.stderr == ""
    code = f"import candlewick; print(len(candlewick.read_candles('usdt_futures', {NAME!a}, '1m', data='data')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 2
