"""Rows that cannot be right, for an audit: impossible values, times off the grid, rows in a file of other times."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from consumer.dataset.dataset import PartitionFile
from consumer.storage.codec import Partition
from consumer.storage.table import VALUE_COLUMNS, Rows, candle_ends, runs
from shared.interval import Interval, utc
from shared.spans import Spans

_MAX_NAMED = 1000  # rows named one by one; beyond it they are only counted


class WrongRow(NamedTuple):
    """A stored row that cannot be right: its open time (UTC ms), and why."""

    open_time_ms: int
    reason: str


@dataclass(slots=True)
class FoundRows:
    """Rows that cannot be right: the first thousand of them, and how many there are."""

    wrong: list[WrongRow] = field(default_factory=list)
    wrong_rows: int = 0

    def add(self, open_time_ms: int, reason: str) -> None:
        """Count one more row, and name it if it is among the first."""
        self.wrong_rows += 1
        if len(self.wrong) < _MAX_NAMED:
            self.wrong.append(WrongRow(open_time_ms, reason))

    def check(self, rows: Rows, interval: Interval, stored: Spans) -> None:
        """Add rows whose values or times cannot be, or whose times are among those that were stored before."""
        for reason, mask in _checks(rows, interval).items():
            for index in np.flatnonzero(mask):
                self.add(int(rows.times[index]), reason)
        for run in runs(rows.times, interval):
            for twice in stored.between(*run):
                self.add(twice.begin_ms, f"is stored in two files, up to {utc(twice.end_ms)}")


def check_partition(found: FoundRows, file: PartitionFile, partition: Partition, interval: Interval) -> None:
    """Add rows that do not belong into their file, or whose ``candle_end_time`` is another."""
    rows, ends, _ = partition
    begin, end = file.span
    for open_ms in rows.times[(rows.times < begin) | (rows.times >= end)]:
        found.add(int(open_ms), f"does not belong in {file.name}")
    for index in np.flatnonzero(candle_ends(rows.times, interval) != ends):
        found.add(int(rows.times[index]), f"its candle_end_time is {utc(int(ends[index]))}")


def _checks(rows: Rows, interval: Interval) -> "dict[str, npt.NDArray[np.bool_]]":
    values = dict(zip(VALUE_COLUMNS, rows.values, strict=True))
    return {
        "a value is no number": ~np.isfinite(rows.values).all(axis=0),
        "a value is negative": (rows.values < 0).any(axis=0),
        "high is below low": values["high"] < values["low"],
        "high is below open or close": values["high"] < np.maximum(values["open"], values["close"]),
        "low is above open or close": values["low"] > np.minimum(values["open"], values["close"]),
        "takers bought more than was traded": (values["taker_buy_base_asset_volume"] > values["volume"])
        | (values["taker_buy_quote_asset_volume"] > values["quote_volume"]),
        "its number of trades is not whole": values["trade_num"] % 1 != 0,
        "its time is off the grid": _off_grid(rows.times, interval),
    }


def _off_grid(times: "npt.NDArray[np.int64]", interval: Interval) -> "npt.NDArray[np.bool_]":
    if interval is Interval.MONTH:
        return np.array([not interval.is_open_time(int(time)) for time in times], bool)
    anchor = int(times[0]) if interval is Interval.D3 and len(times) else interval.floor(0)
    off: npt.NDArray[np.bool_] = (times - anchor) % interval.typical_ms != 0
    return off
