"""Many rows as CSV and as JSON: ours, Arrow's own CSV writer with times as numbers, and pandas.

The floor writes the same numbers as one table without a word of time as text; JSON has none. The old way makes a pandas
frame and lets it write itself.
"""

import io
import time

import numpy as np
import pyarrow as pa
import pyarrow.csv

from bench.result import Result, best_of
from candlewick.cli.export import export
from consumer.storage.table import VALUE_COLUMNS, Rows, to_arrow
from shared.interval import DAY_MS, MINUTE_MS, Interval

_ROWS = 900_000
_ROUNDS = 3
_DAY = 19_904 * DAY_MS  # 2024-06-30


def run() -> list[Result]:
    """Both forms, into memory."""
    rows = _made()
    csv = best_of(
        _ROUNDS,
        {"ours": lambda: _ours("csv", rows), "floor": lambda: _floor(rows), "old": lambda: _pandas("csv", rows)},
    )
    json = best_of(_ROUNDS, {"ours": lambda: _ours("jsonl", rows), "old": lambda: _pandas("jsonl", rows)})
    return [
        Result(f"{_ROWS:,} rows as CSV", "s", csv["ours"], csv["floor"], csv["old"]),
        Result(f"{_ROWS:,} rows as JSON lines", "s", json["ours"], None, json["old"]),
    ]


def _made() -> Rows:
    """Rows with as many digits as prices and volumes have."""
    random = np.random.default_rng(1)
    values = np.round(random.random((len(VALUE_COLUMNS), _ROWS)) * 1e5, 5)
    values[VALUE_COLUMNS.index("trade_num")] = random.integers(0, 5000, _ROWS)
    return Rows(_DAY + MINUTE_MS * np.arange(_ROWS, dtype=np.int64), values)


def _ours(form: str, rows: Rows) -> float:
    began = time.perf_counter()
    export(form, [to_arrow(rows, Interval.M1)], io.BytesIO())
    return time.perf_counter() - began


def _floor(rows: Rows) -> float:
    began = time.perf_counter()
    table = pa.Table.from_arrays([pa.array(rows.times), *map(pa.array, rows.values)], ["time", *VALUE_COLUMNS])
    pyarrow.csv.write_csv(table, io.BytesIO())
    return time.perf_counter() - began


def _pandas(form: str, rows: Rows) -> float:
    began = time.perf_counter()
    frame = to_arrow(rows, Interval.M1).to_pandas()
    if form == "csv":
        frame.to_csv(io.BytesIO(), lineterminator="\n")
    else:
        frame.reset_index().to_json(io.BytesIO(), orient="records", date_format="iso", lines=True)
    return time.perf_counter() - began
