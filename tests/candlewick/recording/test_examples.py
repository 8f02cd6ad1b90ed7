"""The examples of docs/reading.md run as they stand there, on a recording of the test's own."""

import re
import warnings
from pathlib import Path

from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from tests.support.recorded import Recorded, began, minutes

DOCUMENT = Path(__file__).parents[3] / "docs" / "reading.md"


def test_every_python_example_runs(recorded: Recorded) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT"):
        series = Series(Market.USDT_FUTURES, symbol, Interval.M1)
        recorded.store([began(series), *minutes(200, series=series)])
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(blocks) > 2
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there is no broker in the folder
        for block in blocks:
            exec(compile(block, str(DOCUMENT), "exec"), names)  # noqa: S102 # our own document
