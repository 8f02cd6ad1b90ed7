"""How each series of a question is read: its columns, its last rows, or longer candles made of them."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from candlewick.recording.joined import JoinedReader
from candlewick.recording.query import DROP, MARK
from candlewick.recording.resample import Resampled, Target, resample, resample_parts
from candlewick.recording.tables import COMPLETE_COLUMN
from consumer.storage.table import INDEX_COLUMN, TIME_COLUMN, Rows, arrow_table
from shared.candle import MAX_TIME_MS, Series
from shared.spans import Span

_TIMES = (INDEX_COLUMN, TIME_COLUMN)


class Question(NamedTuple):
    """What is asked of each series alike.

    Attributes:
        reader: stream and store joined.
        span: of open times; of the candles that are made, if any are.
        columns: of values.
        tail: only the last so many candles; None: all.
        target: what is made of the candles; None: nothing.
        incomplete: ``drop``, ``mark`` or ``keep`` made candles of which a part is missing.
        in_parts: a table a partition, in flat memory, and not one a series.
    """

    reader: JoinedReader
    span: Span
    columns: Sequence[str]
    tail: int | None
    target: Target | None
    incomplete: str
    in_parts: bool

    def tables(self, series: Series) -> Iterator[pa.Table]:
        """A series' tables, one at least."""
        if self.target is not None:
            for made in self._made(series, self.target):
                yield self._table(made, self.target)
        elif self.tail is not None:
            rows = self.reader.last_rows(series, self.tail, *self.span)
            yield arrow_table(rows, Target(series.interval).ends(rows.times)).select([*_TIMES, *self.columns])
        elif self.in_parts:
            yield from self.reader.tables(series, *self.span, self.columns)
        else:
            yield self.reader.table(series, *self.span, self.columns)

    def _made(self, series: Series, target: Target) -> Iterator[Resampled]:
        target.check(series.interval)
        absent = self.reader.metadata(series).absent
        span = Span(_moved(target.ceil, self.span.begin_ms), _moved(target.ceil, self.span.end_ms))
        if self.tail is not None:
            count = (self.tail + 2) * (target.interval.typical_ms * 2 // series.interval.typical_ms)
            made = resample(self.reader.last_rows(series, count, *span), series.interval, target, absent)
            kept = made.is_complete if self.incomplete == DROP else np.ones(len(made.rows), np.bool_)
            made = _only(made, kept)
            yield Resampled(made.rows.last(self.tail), made.is_complete[-self.tail :])
        elif self.in_parts:
            yield from resample_parts(self.reader.parts(series, *span), series.interval, target, absent)
        else:
            yield resample(self.reader.rows(series, *span), series.interval, target, absent)

    def _table(self, made: Resampled, target: Target) -> pa.Table:
        if self.incomplete == DROP:
            made = _only(made, made.is_complete)
        table = arrow_table(made.rows, target.ends(made.rows.times)).select([*_TIMES, *self.columns])
        return table.append_column(COMPLETE_COLUMN, pa.array(made.is_complete)) if self.incomplete == MARK else table


def _only(made: Resampled, kept: npt.NDArray[np.bool_]) -> Resampled:
    return Resampled(Rows(made.rows.times[kept], made.rows.values[:, kept]), made.is_complete[kept])


def _moved(move: Callable[[int], int], time_ms: int) -> int:
    """A time moved to a candle's open time, where candles may be."""
    return time_ms if abs(time_ms) >= MAX_TIME_MS else move(time_ms)
