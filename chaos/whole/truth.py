"""What is on disk against what the simulated exchange has: the judgement at the end of every chaos run.

The exchange is asked over REST, while no fault is on; the disk is read with plain pyarrow, file by file, and none of
Candlewick's own readers, so that nothing of ours can hide a row that stands twice.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq

from consumer.storage.layout import series_folder
from consumer.storage.table import TIME_COLUMN, VALUE_COLUMNS
from shared.candle import Series
from shared.interval import utc
from shared.market import Market

REST: Mapping[Market, str] = {
    Market.SPOT: "/spot/api/v3",
    Market.USDT_FUTURES: "/usdt_futures/fapi/v1",
    Market.COIN_FUTURES: "/coin_futures/dapi/v1",
}
"""Where the simulated exchange answers REST calls, by market."""

Values = tuple[float, ...]
"""A candle's values in the order of the columns on disk."""

_ROWS_A_CALL = 500
_TIMEOUT_SECONDS = 30
_SHOWN = 10


def control(address: str) -> dict[str, Any]:
    """What the simulated exchange says of itself."""
    answer = httpx.get(f"{address}/control", timeout=_TIMEOUT_SECONDS)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def held_by_the_exchange(address: str, series: Series, begin_ms: int, end_ms: int) -> dict[int, Values]:
    """Open time and values of every kline that opens in a range and that the exchange has.

    Raises:
        httpx.HTTPError: when it refuses; ask while no fault is on.
    """
    found: dict[int, Values] = {}
    step = _ROWS_A_CALL * series.interval.typical_ms
    for start in range(begin_ms, end_ms, step):
        answer = _asked(
            f"{address}{REST[series.market]}/klines",
            {
                "symbol": series.symbol,
                "interval": series.interval.value,
                "startTime": start,
                "endTime": min(start + step, end_ms) - 1,
                "limit": 2 * _ROWS_A_CALL,
            },
        )
        for row in answer.json():
            found[row[0]] = tuple(float(row[column]) for column in (1, 2, 3, 4, 5, 7, 8, 9, 10))
    return found


def _asked(url: str, question: Mapping[str, str | int]) -> httpx.Response:
    """The answer to a question, with patience for the weight that a long run costs."""
    while True:
        answer = httpx.get(url, params=question, timeout=_TIMEOUT_SECONDS)
        if answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
            answer.raise_for_status()
            return answer
        time.sleep(int(answer.headers["Retry-After"]))


def rows_on_disk(root: Path, series: Series) -> list[tuple[int, Values]]:
    """Open time and values of every row of a series in a dataset, as often as it stands there."""
    rows: list[tuple[int, Values]] = []
    for path in sorted((root / series_folder(series)).glob("*.parquet")):
        with path.open("rb") as file:
            table = pq.read_table(file)
        times: list[Any] = table.column(TIME_COLUMN).cast(pa.int64()).to_pylist()
        columns = [table.column(name).to_pylist() for name in VALUE_COLUMNS]
        rows += zip(times, zip(*columns, strict=True), strict=True)
    return rows


def stored(root: Path, series: Series) -> dict[int, Values]:
    """Open time and values of every candle on disk; empty for a series that has no folder."""
    return dict(rows_on_disk(root, series))


@dataclass(slots=True)
class Difference:
    """One series, compared. Open times in UTC ms.

    Attributes:
        series: which.
        compared: candles that the exchange has in the compared range.
        missing: those that are not on disk.
        doubled: those that stand there more than once.
        different: those whose values are others.
        extra: rows on disk that the exchange does not have.
    """

    series: Series
    compared: int
    missing: list[int] = field(default_factory=list)
    doubled: list[int] = field(default_factory=list)
    different: list[int] = field(default_factory=list)
    extra: list[int] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether the disk holds the truth and nothing else."""
        return not (self.missing or self.doubled or self.different or self.extra)

    def lines(self) -> list[str]:
        """What is wrong, for people; none when nothing is."""
        kinds = {"missing": self.missing, "doubled": self.doubled, "different": self.different, "extra": self.extra}
        return [f"{self.series}: {len(times):,} {kind}: {_shown(times)}" for kind, times in kinds.items() if times]


def candles_of(differences: Iterable[Difference], kind: str) -> int:
    """How many candles are ``missing``, ``doubled``, ``different`` or ``extra``; or ``compared``."""
    if kind == "compared":
        return sum(difference.compared for difference in differences)
    return sum(len(getattr(difference, kind)) for difference in differences)


def _shown(times: Sequence[int]) -> str:
    text = ", ".join(f"{utc(time):%Y-%m-%dT%H:%M}" for time in times[:_SHOWN])
    return text + (" …" if len(times) > _SHOWN else "")


def difference(
    series: Series, rows: Sequence[tuple[int, Values]], truth: Mapping[int, Values], end_ms: int
) -> Difference:
    """Compare rows with the truth.

    Args:
        series: whose rows they are.
        rows: what is on disk.
        truth: every candle that the exchange has and that has ended by now.
        end_ms: what opens before must be there; what opens later may be, but not otherwise than it is in truth.
    """
    counts = Counter(time for time, _ in rows)
    return Difference(
        series,
        compared=sum(time < end_ms for time in truth),
        missing=sorted(time for time in truth if time < end_ms and time not in counts),
        doubled=sorted(time for time, count in counts.items() if count > 1),
        different=sorted({time for time, values in rows if time in truth and truth[time] != values}),
        extra=sorted(time for time in counts if time not in truth),
    )


def compare(address: str, root: Path, series: Sequence[Series], begin_ms: int, end_ms: int) -> list[Difference]:
    """Compare every series on disk with the exchange, once nothing is written any more and no fault is on.

    Args:
        address: of the simulated exchange.
        root: the dataset.
        series: which must be there.
        begin_ms: where recording began; the candle of each interval that was open then is the first.
        end_ms: up to where everything must be there: what has ended by then, by the interval's own grid.
    """
    now_ms = int(control(address)["time_ms"])
    found = []
    for key in series:
        held = held_by_the_exchange(address, key, key.interval.floor(begin_ms), now_ms)
        ended = {time: values for time, values in held.items() if key.interval.end(time) <= now_ms}
        found.append(difference(key, rows_on_disk(root, key), ended, key.interval.floor(end_ms)))
    return found
