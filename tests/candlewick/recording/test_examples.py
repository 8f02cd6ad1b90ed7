"""The examples of docs/reading.md run as they stand there, on a recording of the test's own."""

import re
from pathlib import Path

import pytest

from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from tests.support.recorded import Recorded, began, minutes

DOCUMENT = Path(__file__).parents[3] / "docs" / "reading.md"


def test_every_python_example_runs(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDLEWICK_BROKER_URL", recorded.settings.broker.url)
    monkeypatch.setenv("CANDLEWICK_BROKER_PREFIX", recorded.settings.broker.prefix)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        series = Series(Market.USDT_FUTURES, symbol, Interval.M1)
        recorded.store([began(series), *minutes(200, series=series)])
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(blocks) > 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(DOCUMENT), "exec"), names)  # noqa: S102 # our own document
