"""A survey: how the candles of many series stand, told by file footers and metadata alone, so it is quick.

It is an audit in which no row is checked. What is published and not on disk yet counts as present.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from consumer.dataset.audit import AuditRange, SeriesAudit, judge
from consumer.dataset.dataset import ALWAYS_MS, Dataset
from consumer.dataset.figures import stored_spans
from consumer.storage.metadata import SeriesMetadata
from shared.candle import Series
from shared.errors import StoreError
from shared.market import Market
from shared.series_fact import SeriesFact
from shared.spans import Span, Spans


class Unstored(NamedTuple):
    """What is published of a series and not stored yet: ranges of open times, and facts."""

    spans: Spans
    facts: tuple[SeriesFact, ...] = ()


class Surveyed(NamedTuple):
    """How one series stands: what was found, its metadata, and what is present."""

    audit: SeriesAudit
    metadata: SeriesMetadata
    present: Spans


_NOTHING = Unstored(Spans())


def survey(
    dataset: Dataset,
    series: Iterable[Series],
    wanted: AuditRange,
    market_ms: Mapping[Market, int],
    unstored: Mapping[Series, Unstored],
) -> Iterator[Surveyed]:
    """How these series stand, one after the other.

    What cannot be read is among an audit's ``errors``, and raises nothing. ``market_ms`` is each market's time, as in
    ``AuditRange``; a series' own newest candle may be later.
    """
    for one in series:
        yield _survey(dataset, one, wanted, market_ms, unstored.get(one, _NOTHING))


def _survey(
    dataset: Dataset, series: Series, wanted: AuditRange, market_ms: Mapping[Market, int], unstored: Unstored
) -> Surveyed:
    found, metadata, present, left_out = SeriesAudit(series), SeriesMetadata(), Spans(), None
    start_ms = -ALWAYS_MS if wanted.start_ms is None else wanted.start_ms
    try:
        metadata = dataset.metadata(series)
        present = stored_spans(dataset, series, start_ms)
        left_out = next((file for file in dataset.partitions(series) if file.span.end_ms <= start_ms), None)
    except StoreError as error:
        found.errors.append(str(error))
    for fact in unstored.facts:
        metadata.merge(fact)
    for span in unstored.spans:
        present.add(*span)
    found.ended = metadata.reason if metadata.end_ms is not None else None
    spans = list(present)
    edges = Span(spans[0].begin_ms, spans[-1].end_ms) if spans else None
    if edges is not None and left_out is not None:  # it began before the range
        edges = edges._replace(begin_ms=left_out.span.begin_ms)
    now_ms = max(market_ms.get(series.market, 0), present.last_ms or 0)
    judge(found, metadata, present, edges, replace(wanted, market_ms=now_ms))
    return Surveyed(found, metadata, present)
