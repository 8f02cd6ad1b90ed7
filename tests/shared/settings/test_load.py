"""Settings: where they come from, and one clear line for each mistake."""

from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.interval import Interval
from shared.market import Market
from shared.settings.load import describe, load_settings

REPOSITORY = Path(__file__).parents[3]


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "settings.toml"
    file.write_text(text)
    return file


def test_without_any_file_the_six_default_series_are_recorded() -> None:
    settings = load_settings()
    assert [str(one) for market in Market for one in settings.series(market)] == [
        "spot BTCUSDT-1m",
        "spot BNBUSDT-1m",
        "usdt_futures BTCUSDT-1m",
        "usdt_futures ETHUSDT-1m",
        "coin_futures BTCUSD_PERP-3m",
        "coin_futures ETHUSD_PERP-3m",
    ]


def test_the_file_in_the_repository_says_what_the_defaults_are() -> None:
    assert load_settings(REPOSITORY / "candlewick.toml") == load_settings()


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, '[broker]\nurl = "redis://file"\nprefix = "file"\nretention_days = 1\n')
    monkeypatch.setenv("CANDLEWICK_BROKER_URL", "redis://environment")
    monkeypatch.setenv("CANDLEWICK_BROKER_PREFIX", "environment")
    settings = load_settings(file, {"broker": {"url": "redis://flag"}})
    assert settings.broker.url == "redis://flag"
    assert settings.broker.prefix == "environment"
    assert settings.broker.retention_days == 1


def test_every_setting_has_a_variable_and_an_empty_one_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, _, meaning in describe(load_settings()):
        assert meaning, name
        monkeypatch.setenv(name, "")
    assert load_settings() == load_settings()


def test_what_is_recorded_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "CANDLEWICK_RECORD", '[{"market": "spot", "symbols": ["btcusdt", "BTCUSDT"], "intervals": ["1s", "1M"]}]'
    )
    series = load_settings().series(Market.SPOT)
    assert [str(one) for one in series] == ["spot BTCUSDT-1s", "spot BTCUSDT-1M"]


GROUP = '[[record]]\nmarket = "{}"\nsymbols = ["{}"]\nintervals = ["{}"]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[brokr]\n", "brokr: there is no such setting, allowed are record, history, data, broker"),
        ('[broker]\nurk = "x"\n', "broker.urk: there is no such setting, allowed are url"),
        ('[broker]\nurl = "http://secret@x"\n', "broker.url: an address begins with redis://"),
        ('[broker]\nurl = "redis://:12#secret@x:6379"\n', "broker.url: an address names a host"),
        ('[broker]\nurl = "redis://:secret/1@x:6379"\n', "broker.url: an address names a host"),
        ('broker = "redis://:secret@x"\n', "broker: must be a valid dictionary"),
        ('[exchange]\nspot_websocket = "wss://x:99999"\n', "an address names a host and, after a colon, a port"),
        ('[exchange]\nspot_websocket = "wss://"\n', "an address names a host"),
        ("[writer]\nflush_seconds = 0\n", "writer.flush_seconds: 0 is not allowed"),
        ("[writer]\nflush_seconds = 60\n", "writer.flush_max_seconds: must not be below"),
        (GROUP.format("spt", "A", "1m"), "record.0.market: 'spt' is not allowed, must be 'spot', 'usdt_futures'"),
        (GROUP.format("spot", "A", "7m"), "record.0.intervals.0: '7m' is not allowed, must be '1s', '1m'"),
        (GROUP.format("spot", "../x", "1m"), "record.0.symbols.0: '../x' is not allowed"),
        (GROUP.format("usdt_futures", "A", "1s"), "record.0.intervals: 1s is spot's alone, usdt_futures has 1m"),
        ("broken =", "cannot be read"),
        ('[record]\nmarket = "spot"\n', "record: must be groups, each under [[record]]"),
        ('[[record]]\nmarket = "spot"\nintervals = ["1m"]\n', "record.0.symbols: is missing"),
        (GROUP.format("spot", "A", "1m").replace('["A"]', "[]"), "record.0.symbols: must name at least one"),
        (GROUP.format("spot", "A", "1m").replace('["A"]', '"A"'), 'symbols: must be a list, such as ["BTCUSDT"]'),
        ('[exchange]\nspot_websocket = "https://x"\n', "an address begins with ws:// or wss://"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key_and_what_is_allowed(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(write(tmp_path, text)).check_record()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("CANDLEWICK_BROKR_URL", "did you mean CANDLEWICK_BROKER_URL?"),
        ("CANDLEWICK_DATA", "did you mean CANDLEWICK_DATA_FOLDER?"),
        ("CANDLEWICK_0", "`candlewick settings` lists those that are"),
    ],
)
def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, hint: str) -> None:
    monkeypatch.setenv(name, "x")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == f"environment variable {name} is not a setting; {hint}"


def test_a_file_that_is_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml does not exist"):
        load_settings(tmp_path / "none.toml")


def test_the_simulator_takes_the_place_of_every_address_and_offers_every_interval(tmp_path: Path) -> None:
    text = GROUP.format("usdt_futures", "A", "1s") + '[exchange]\nsimulator = "http://localhost:8900/"\n'
    settings = load_settings(write(tmp_path, text))
    assert Interval.S1 in settings.intervals(Market.USDT_FUTURES)
    assert settings.exchange.websocket(Market.USDT_FUTURES) == ("ws://localhost:8900/usdt_futures/market",)
    assert settings.exchange.websocket(Market.SPOT) == ("ws://localhost:8900/spot",)


def test_a_password_is_never_shown() -> None:
    for url in ("redis://u:hunter3@h", "unix:///r.sock?password=hunter4"):
        settings = load_settings(flags={"broker": {"password": "hunter2", "url": url}})
        shown = "\n".join(" ".join(row) for row in describe(settings))
        assert "hunter" not in shown


@pytest.mark.parametrize(
    ("section", "former", "today"),
    [("writer", "flush_most_seconds", "flush_max_seconds"), ("exchange", "retry_most_seconds", "retry_max_seconds")],
)
def test_a_former_name_of_a_setting_is_taken_everywhere_and_never_beside_todays(
    section: str, former: str, today: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "old.toml"
    file.write_text(f"[{section}]\n{former} = 7\n")
    assert getattr(getattr(load_settings(file), section), today) == 7
    monkeypatch.setenv(f"CANDLEWICK_{section}_{former}".upper(), "8")
    assert getattr(getattr(load_settings(), section), today) == 8
    with pytest.raises(SettingsError, match=f"{former} is the former name of {today}"):
        load_settings(flags={section: {former: 7, today: 7}})
