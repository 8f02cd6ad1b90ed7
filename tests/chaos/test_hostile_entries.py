"""Hostile entries in a real stream, a real writer behind it: they can write nowhere but the dead letters."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consumer.group.dead_letters import dead_letters
from consumer.storage.layout import series_folder
from shared.broker.entry import encode_entry
from shared.broker.keys import Keys
from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from shared.series_fact import FactKind, SeriesFact
from shared.settings.model import Settings
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle
from tests.support.waiting import wait_until
from tests.support.writing import candles, pending, publish, stored, writing

Fields = dict[Any, Any]

GOOD = encode_entry(make_candle(open_time_ms=JUNE_30 + MINUTE))
NOTE = encode_entry(SeriesFact(BTC, FactKind.ABSENT, JUNE_30, JUNE_30 + MINUTE, JUNE_30 + MINUTE, "none"))
DEEP = "[" * 100_000 + "]" * 100_000

SYMBOLS = {
    "above": "../../x",
    "above, in capitals": "../../X",
    "far above": "../" * 40 + "tmp/candlewick-was-here",
    "dots": "..",
    "a dot": ".",
    "absolute": "/tmp/candlewick-was-here",  # noqa: S108
    "a folder": "A/B",
    "another system's": "C:\\X",
    "a NUL": "A\0B",
    "a line": "A\nB",
    "none": "",
    "a space": " ",
    "lowercase": "btcusdt",
    "a slash in disguise": "A\u2044B",
    "wide dots": "\uff0e\uff0e\uff0fX",
    "backwards": "\u202eX",
    "nothing to see": "A\u200bB",
    "combined": "E\u0301",
    "too long": "A" * 61,
    "too long in bytes": "\U00020000" * 61,
    "a megabyte": "A" * 2**20,
    "a key and a value": "X/symbol=Y",
    "hive": "A=B",
    "not UTF-8": b"\xff\xfe",
    "overlong dots": b"\xc0\xae\xc0\xae\xc0\xaf",
}
NUMBERS = {
    "not a number": "NaN",
    "infinite": "Infinity",
    "too large for a float": "1e400",
    "9" * 12: "9" * 31,
    "5000 digits": "9" * 5000,
    "a megabyte of digits": "9" * 2**20,
    "negative": "-1",
    "minus nought": "-0",
    "signed": "+1",
    "hexadecimal": "0x10",
    "in groups": "1_000",
    "spaced": " 1",
    "several": "1,1",
    "another script's": "١٢٣",
    "empty": "",
    "a list": "[1]",
    "null": "null",
    "nested": DEEP,
}
TIMES = {
    "off the grid": str(JUNE_30 + 1),
    "in microseconds": f"{JUNE_30}000",
    "in seconds": str(JUNE_30 // 1000 + 1),
    "after 2200": "7258118400000",
    "2**63": "9223372036854775808",
    "2**64": "18446744073709551616",
    "negative": "-60000",
    "a fraction": "1719705600000.0",
    "absurd": "1e400",
}


def hostile() -> dict[str, Fields]:
    """Entries by what is wrong with each."""
    found: dict[str, Fields] = {f"symbol {name}": GOOD | {"symbol": symbol} for name, symbol in SYMBOLS.items()}
    found |= {f"note's symbol {name}": NOTE | {"symbol": symbol} for name, symbol in SYMBOLS.items()}
    found |= {f"price {name}": GOOD | {"close": number} for name, number in NUMBERS.items()}
    found |= {f"trades {name}": GOOD | {"trade_num": number} for name, number in NUMBERS.items()}
    found |= {f"time {name}": GOOD | {"open_time_ms": number} for name, number in TIMES.items()}
    found |= {f"without {name}": {key: one for key, one in GOOD.items() if key != name} for name in GOOD}
    found |= {f"interval {name}": GOOD | {"interval": name} for name in ("2m", "1mo", "../1m", "", "1m/../..", DEEP)}
    return found | {
        "nothing of ours": {"hello": "world"},
        "an empty name": {"": ""},
        "bytes": {b"\xff": b"\xff"},
        "ten thousand fields": {f"field {number}": "x" for number in range(10_000)},
        "a source that is a path": GOOD | {"source": "../../x"},
        "a kind of note that is not known": NOTE | {"note": "../../x"},
        "a note whose end is before it begins": NOTE | {"to_ms": "0"},
        "a reason of a megabyte": NOTE | {"reason": "a" * 2**20},
        "a reason with a line's end": NOTE | {"reason": "a\nINFO forged"},
        "a field of 8 MB": GOOD | {"close": "9" * 2**23},
    }


def files_below(folder: Path) -> set[str]:
    """Every file there is, links and sockets too, by its path from a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def test_every_hostile_entry_is_a_dead_letter_and_nothing_else_is_written_anywhere(
    make_settings: Callable[..., Settings], client: Any, keys: Keys, tmp_path: Path
) -> None:
    inside = tmp_path / "a" / "b" / "c" / "d" / "e"  # whatever climbs a few folders lands in the test's own
    settings = make_settings(data={"folder": inside})
    stream, wrong = keys.candles(BTC.market), hostile()
    before = set(Path("/tmp").glob("candlewick-was-here*"))  # noqa: S108
    with writing(settings):
        sent = {}
        for number, (name, fields) in enumerate(wrong.items()):
            publish(client, keys, candles(1, first=number))
            sent[client.xadd(stream, fields).decode()] = name
        publish(client, keys, candles(1, first=len(wrong)))
        wait_until(lambda: stored(settings) == list(range(len(wrong) + 1)), 60)
        wait_until(lambda: pending(client, keys) == 0)
        written = files_below(tmp_path)
    dead = {letter.entry_id: letter for letter in dead_letters(client, keys, BTC.market)}
    assert {sent[entry_id] for entry_id in dead} == set(wrong)
    for entry_id, letter in dead.items():
        assert 0 < len(letter.reason) < 1000, sent[entry_id]
        assert letter.reason.isprintable(), sent[entry_id]
    ours = {f"candles/{series_folder(BTC)}/2024-06-30.parquet", "ledger/market=usdt_futures/sources.json"}
    assert {name for name in written if not name.startswith("a/b/c/d/e/staging/")} == {
        f"a/b/c/d/e/{one}" for one in ours
    }
    assert {Path(name).name for name in written if name.startswith("a/b/c/d/e/staging/")} <= {"lock", ".lock"}
    assert set(Path("/tmp").glob("candlewick-was-here*")) == before  # noqa: S108
    client.delete(stream, keys.dead_letters(BTC.market))


@pytest.mark.parametrize("symbol", ["A" * 60, "\U00020000" * 60, "币安人生USDT", "A-B_1", "CON", "_", "-"])
def test_what_looks_odd_and_is_allowed_is_written_into_its_own_folder(
    make_settings: Callable[..., Settings], client: Any, keys: Keys, symbol: str
) -> None:
    """The longest names still fit a file system: 60 characters of four bytes."""
    settings = make_settings()
    series = Series(Market.SPOT, symbol, Interval.M1)
    with writing(settings):
        publish(client, keys, candles(2, series))
        client.xadd(
            keys.candles(Market.SPOT), encode_entry(SeriesFact(series, FactKind.BEGAN, JUNE_30, JUNE_30, JUNE_30))
        )
        wait_until(lambda: stored(settings, series) == [0, 1])
        wait_until(lambda: pending(client, keys, Market.SPOT) == 0)
    found = [path for path in settings.data.folder.rglob("*") if path.is_file() and symbol in str(path)]
    assert {path.relative_to(settings.data.folder).parts[0] for path in found} == {"candles", "ledger"}
    assert not client.exists(keys.dead_letters(Market.SPOT))
