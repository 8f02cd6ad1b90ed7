"""What ``candlewick check`` finds, with one thing wrong at a time; each from outside."""

import json
import resource
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from candlewick.checks.broker import check_broker
from candlewick.checks.exchange import _clock, check_exchange
from candlewick.checks.finding import Finding, Level
from candlewick.checks.host import bytes_a_day, check_host, files_of
from consumer.storage.sources import SourceStore
from shared.interval import DAY_MS
from shared.market import Market
from shared.settings.model import Settings
from shared.source import simulated
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle
from tests.support.commands import COMMAND, Run
from tests.support.disk import Disk
from tests.support.refusing import Refusing
from tests.support.servers import RealServer
from tests.support.stores import DataFolder

Make = Callable[..., Settings]


def of(findings: Iterable[Finding], subject: str) -> Finding:
    return next(finding for finding in findings if finding.subject == subject)


def test_a_good_host_is_well_and_nothing_is_left_behind(make_settings: Make, tmp_path: Path) -> None:
    found = [*check_host(make_settings()), *check_broker(make_settings())]
    assert {finding.subject: finding.level for finding in found} == dict.fromkeys(
        ("data folder", "disk", "source", "open files", "metrics", "broker", "broker's disk", "broker's memory"),
        Level.WELL,
    )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(make_settings: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = of(check_host(make_settings(data={"folder": tmp_path / "file" / "data"})), "data folder")
    assert (found.level, found.text) == (Level.BAD, f"{tmp_path}/file/data cannot be written: Not a directory")


def test_a_disk_that_is_nearly_full(make_settings: Make, disk: Disk) -> None:
    found = of(check_host(make_settings(data={"folder": disk.folder / "data"})), "disk")
    assert found.level is Level.BAD
    assert "1.05 MB free: " in found.text
    assert "data.folder" in found.remedy


def test_how_fast_the_store_grows_is_measured_by_the_days_that_are_over(make_settings: Make) -> None:
    settings = make_settings()
    pattern = [{"market": "spot", "symbols": ["*USDT"], "intervals": ["1m"]}]
    assert bytes_a_day(make_settings(record=pattern), {}).nbytes == 0
    assert of(check_host(make_settings(record=pattern)), "disk").text.endswith("how fast it fills is not known yet")
    estimated, is_measured = bytes_a_day(settings, {})
    assert not is_measured
    assert estimated == pytest.approx((4 * 1440 + 2 * 480) * 45)
    folder = DataFolder(settings.data.folder)
    folder.write(BTC, [make_candle(BTC, JUNE_30 + day * DAY_MS + at * MINUTE) for day in range(3) for at in range(100)])
    sizes = [file.size for file in folder.dataset.partitions(BTC)]
    assert bytes_a_day(settings, files_of(folder.dataset)) == ((sizes[0] + sizes[1]) / 2, True)
    folder.close()


def test_a_folder_that_has_another_exchange_s_candles(make_settings: Make) -> None:
    settings = make_settings()
    folder = DataFolder(settings.data.folder)
    SourceStore(folder.storage).add(Market.SPOT, [simulated("http://127.0.0.1:1")])
    folder.close()
    found = of(check_host(settings), "source")
    assert (found.level, found.remedy) == (Level.BAD, "record into another data folder, or say --mix-sources")


def test_too_few_open_files_and_ports_that_are_taken(tmp_path: Path, refused_port: int) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 4096))

    environment = {"CANDLEWICK_METRICS_PORT": str(refused_port), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [*COMMAND, "check", "--json", "--simulator", "http://127.0.0.1:1"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        preexec_fn=few,  # no thread runs in this test
    )
    found = [Finding(**{**one, "level": Level(one["level"])}) for one in json.loads(done.stdout)]
    assert done.returncode == 1
    assert of(found, "open files") == Finding(
        Level.BAD, "open files", "200 may be open at once", "ulimit -n 4096, or LimitNOFILE= of the service"
    )
    metrics = of(found, "metrics")
    assert metrics.level is Level.DOUBTFUL
    assert metrics.text.startswith(f"{refused_port} of 127.0.0.1, ports {refused_port} to {refused_port + 3}: taken")
    assert list(tmp_path.iterdir()) == []


def test_a_broker_that_is_away_or_wants_a_password(
    make_settings: Make, make_server: Callable[..., RealServer], refused_port: int
) -> None:
    (away,) = check_broker(make_settings(broker={"url": f"redis://127.0.0.1:{refused_port}"}))
    assert away.level is Level.BAD
    assert away.text.startswith(f"redis://127.0.0.1:{refused_port} does not answer: ")
    locked = make_server(requirepass="secret-word")
    (refused,) = check_broker(make_settings(broker={"url": locked.url, "password": "wrong-word"}))
    assert refused.level is Level.BAD
    assert "refuses the user or password" in refused.text
    assert "-word" not in f"{refused}"


def test_a_broker_that_forgets(make_settings: Make, make_server: Callable[..., RealServer]) -> None:
    evicting = make_server(maxmemory_policy="allkeys-lru", maxmemory="100mb")
    (found,) = check_broker(make_settings(broker={"url": evicting.url}))
    assert found.level is Level.BAD
    assert "set `maxmemory-policy noeviction`" in found.text
    keeping_nothing = make_server(appendonly="no", maxmemory="3mb")
    answers = [*check_broker(make_settings(broker={"url": keeping_nothing.url}))]
    assert of(answers, "broker").level is Level.WELL
    assert of(answers, "broker's disk").level is Level.DOUBTFUL
    memory = of(answers, "broker's memory")
    assert memory.text.endswith("MB of 3 MB in use")


def test_an_exchange_that_refuses_this_country(make_settings: Make, refusing: Refusing) -> None:
    address = f"http://127.0.0.1:{refusing.server_port}"
    found = check_exchange(make_settings(exchange={"simulator": address}))
    assert {finding.level for finding in found} == {Level.BAD}
    assert {finding.subject for finding in found} == {
        f"{one} {kind}" for one in Market for kind in ("REST", "WebSocket")
    }
    assert [finding for finding in found if "`make demo`" not in finding.remedy] == []


def test_an_exchange_that_cannot_be_reached_and_one_address_of_several(make_settings: Make, refused_port: int) -> None:
    gone = f"127.0.0.1:{refused_port}"
    exchange = {"spot_rest": f"http://{gone}", "spot_websocket": f"ws://{gone}", "proxy": "direct"}
    record = [{"market": "spot", "symbols": ["BTCUSDT"], "intervals": ["1m"]}]
    found = check_exchange(make_settings(exchange=exchange, record=record))
    assert [(finding.subject, finding.level) for finding in found] == [
        ("spot REST", Level.BAD),
        ("spot WebSocket", Level.BAD),
    ]
    assert all("exchange.MARKET_rest" in finding.remedy for finding in found)


def test_an_exchange_that_is_silent(
    make_settings: Make, simulator: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("candlewick.checks.exchange._PATIENCE_SECONDS", 1.0)
    address = simulator("--fault", "silent_on_connect=1")
    record = [{"market": "spot", "symbols": ["BTCUSDT"], "intervals": ["1m"]}]
    found = check_exchange(make_settings(exchange={"simulator": address}, record=record))
    assert [finding.level for finding in found] == [Level.WELL, Level.DOUBTFUL]
    assert found[1].text.endswith("acknowledged btcusdt@kline_1m and sent nothing in 1 s")


def test_a_clock_that_is_wrong_is_doubtful_and_the_best_answer_counts() -> None:
    assert [finding.level for finding in _clock([0.4, -5.0])] == [Level.WELL]
    (ahead,) = _clock([61.0, 60.5])
    assert (ahead.level, ahead.text) == (Level.DOUBTFUL, "this host's is 60.5 s ahead of the exchange's")
    assert _clock([]) == []


def test_the_command_fits_80_columns_and_says_what_to_do_once(candlewick: Run, simulator: Callable[..., str]) -> None:
    well = candlewick("check", "--simulator", simulator())
    assert (well.returncode, well.stderr) == (0, "")
    assert well.stdout.endswith("\nall well\n")
    bad = candlewick("check", "--simulator", "http://127.0.0.1:1")
    assert bad.returncode == 1
    assert bad.stdout.endswith("\n6 bad, 0 doubtful: not fit for recording yet\n")
    assert bad.stdout.count("→") == 1
    assert max(map(len, (well.stdout + bad.stdout).splitlines())) <= 80
    wrong = candlewick("check", CANDLEWICK_WRITER_THREADS="many")
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)
