"""``candlewick symbols``: mistakes are one line, changes last."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import Run
from tests.support.pipeline import write_settings
from tests.support.servers import RealServer

GROUPS = [{"market": "spot", "symbols": ["BTCUSDT", "E*"], "intervals": ["1m", "5m"]}]


@pytest.fixture
def config(tmp_path: Path, simulator: Callable[..., str], make_server: Callable[..., RealServer]) -> Path:
    address = simulator("--symbols", "spot:BTCUSDT,ETHUSDT,ETCUSDT,SOLUSDT")
    return write_settings(tmp_path, address, GROUPS, broker={"url": make_server().url})


def series(output: str) -> list[str]:
    return [line.split()[0] for line in output.splitlines() if "published" in line]


def test_patterns_are_resolved_and_changes_last(candlewick: Run, config: Path) -> None:
    shown = candlewick("symbols", "list", "spot", "--config", config)
    assert series(shown.stdout) == [
        f"{symbol}-{interval}" for symbol in ("BTCUSDT", "ETCUSDT", "ETHUSDT") for interval in ("1m", "5m")
    ]
    assert candlewick("symbols", "add", "spot", "solusdt", "--interval", "1h", "--config", config).returncode == 0
    assert candlewick("symbols", "remove", "spot", "E*", "--config", config).returncode == 0
    changed = candlewick("symbols", "list", "spot", "--config", config)
    assert series(changed.stdout) == ["BTCUSDT-1m", "BTCUSDT-5m", "SOLUSDT-1h"]
    assert "added by command: SOLUSDT at 1h" in changed.stdout
    assert "removed by command: E*" in changed.stdout
    assert candlewick("symbols", "add", "spot", "ETHUSDT", "--config", config).returncode == 0
    again = candlewick("symbols", "list", "spot", "--config", config)
    assert "ETHUSDT-1m" in series(again.stdout), "a name goes before a pattern"
    assert "ETCUSDT-1m" not in series(again.stdout)


def test_an_interval_that_is_added_takes_none_away(candlewick: Run, config: Path) -> None:
    wanted = ("--config", config)
    assert candlewick("symbols", "add", "spot", "SOLUSDT", *wanted).returncode == 0
    assert candlewick("symbols", "add", "spot", "SOLUSDT", "--interval", "1h", *wanted).returncode == 0
    assert candlewick("symbols", "add", "spot", "SOLUSDT", "--interval", "1M", *wanted).returncode == 0
    shown = candlewick("symbols", "list", "spot", *wanted).stdout
    assert [name for name in series(shown) if name.startswith("SOL")] == [
        f"SOLUSDT-{interval}" for interval in ("1M", "1h", "1m", "5m")
    ]
    assert "added by command: SOLUSDT at 1m, 5m, 1h, 1M" in shown
    assert candlewick("symbols", "list", *wanted).stdout == f"spot:\n{shown}"


def test_without_a_broker_the_list_tells_what_the_settings_name(candlewick: Run, config: Path) -> None:
    there = candlewick("symbols", "list", "spot", "--config", config)
    gone = candlewick("symbols", "list", "spot", "--config", config, "--broker", "redis://127.0.0.1:1")
    assert gone.returncode == 0
    assert series(gone.stdout) == series(there.stdout)
    assert "what was added and removed by command is not known: redis://127.0.0.1:1 does not answer" in gone.stdout


def test_an_unknown_name_is_a_mistake_where_the_exchange_cannot_be_asked(
    candlewick: Run, tmp_path: Path, make_server: Callable[..., RealServer]
) -> None:
    path = write_settings(tmp_path, "http://127.0.0.1:1", GROUPS, broker={"url": make_server().url})
    done = candlewick("symbols", "remove", "spot", "SOLUSDT", "--config", path)
    assert (done.returncode, "SOLUSDT is not recorded on spot" in done.stderr) == (2, True)
    assert candlewick("symbols", "remove", "spot", "ETHUSDT", "--config", path).returncode == 0, "a pattern fits it"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("add", "spot", "SOLUSD"), "the exchange lists no SOLUSD on spot; did you mean SOLUSDT"),
        (("add", "spot", "../x"), "symbol '../X' is not allowed"),
        (("add", "spot", "SOLUSDT", "--interval", "7m"), "interval '7m' is not known"),
        (("add", "coin_futures", "BTCUSD_PERP"), "the settings record nothing of coin_futures"),
        (("remove", "spot", "SOLUSDT"), "SOLUSDT is not recorded on spot"),
        (("list", "fx"), "market 'fx' is not known"),
        (("add", "spot"), "Missing argument"),
    ],
)
def test_a_mistake_is_one_line(candlewick: Run, config: Path, arguments: tuple[str, ...], message: str) -> None:
    done = candlewick("symbols", *arguments, "--config", config)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_a_broker_there_is_nowhere_to_keep_a_change(candlewick: Run, tmp_path: Path) -> None:
    path = write_settings(tmp_path, "http://127.0.0.1:1", GROUPS, broker={"url": "redis://127.0.0.1:1"})
    done = candlewick("symbols", "add", "spot", "SOLUSDT", "--config", path)
    assert done.returncode == 2
    assert "does not answer" in done.stderr
