"""What the broker knows of a market's series: the values of its hashes, written and read. Pure.

A checkpoint tells up to where a series is published without a gap, and so speaks of a stream: it is worth nothing when
that stream was lost. So it names an *anchor*, an entry of the stream that was its newest when the checkpoint was
written. As long as that entry stands in the stream, so does all that was published before
(``producers.publish.continuity``); a checkpoint whose anchor is gone is *doubtful*, and the disk has to be asked.

    BTCUSDT@1m   1719706200000 published 1719706201234-0:9f3a12bc 1719705600000
                 up to when, state, anchor, since when the series is recorded
    ETHUSDT@1m   1719705600000 began
                 nothing is published yet
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.broker.keys import ASKED, RECORDED, STORED_AT
from shared.candle import Series, series_of_field
from shared.market import Market

_BEGAN, _PUBLISHED, _ENDED = "began", "published", "ended"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a market's series. Times are the exchange's, in ms.

    Attributes:
        checkpoints_ms: up to where each is published without a gap, of those whose anchor stands.
        doubtful_ms: the same of those whose anchor is gone.
        ended: of those in ``checkpoints_ms``, which ended there.
        began_ms: when those began of which nothing is published yet.
        since_ms: since when the others are recorded, as far as that is told.
        stored_to_ms: up to where each is on disk without a hole, as a writer has said; None: none has.
        recorded: which of those a producer records, by the facts on disk.
        asked, answered: the question to the writers that is put now, and the one that they answered last.
        listed_ms: when this share last looked its symbols up; None: never.
    """

    checkpoints_ms: Mapping[Series, int] = field(default_factory=dict)
    doubtful_ms: Mapping[Series, int] = field(default_factory=dict)
    ended: frozenset[Series] = frozenset()
    began_ms: Mapping[Series, int] = field(default_factory=dict)
    since_ms: Mapping[Series, int] = field(default_factory=dict)
    stored_to_ms: Mapping[Series, int] | None = None
    recorded: frozenset[Series] = frozenset()
    asked: str = ""
    answered: str = ""
    listed_ms: int | None = None

    def is_new(self, series: Series) -> bool:
        """Whether nobody knows where a series continues."""
        is_stored = series in (self.stored_to_ms or {}) and series not in self.began_ms
        return series not in self.checkpoints_ms and series not in self.doubtful_ms and not is_stored

    def needs_disk(self, series: Series) -> bool:
        """Whether only the disk can tell where a series continues."""
        return series not in self.checkpoints_ms and not self.is_new(series)

    def safe_ms(self, series: Series) -> int | None:
        """From where on a series is to be fetched whose stream was lost: where the disk ends, or its beginning.

        None: nothing is known.
        """
        stored_to = (self.stored_to_ms or {}).get(series)
        if stored_to is not None:
            return stored_to
        return self.since_ms.get(series, self.doubtful_ms.get(series))


def checkpoint_text(time_ms: int, anchor: str, since_ms: int | None, *, ended: bool = False) -> str:
    """A checkpoint as the value of its series' field."""
    return f"{time_ms} {_ENDED if ended else _PUBLISHED} {anchor} {'' if since_ms is None else since_ms}".rstrip()


def beginning_text(time_ms: int) -> str:
    """The beginning of a series of which nothing is published yet, as the value of its field."""
    return f"{time_ms} {_BEGAN}"


def anchors(checkpoints: Mapping[str, str]) -> set[str]:
    """The anchors that checkpoints name: whether they stand in the stream is for the caller to find out."""
    return {anchor for _, _, anchor, *_ in map(_words, checkpoints.values()) if anchor}


def known(
    market: Market, checkpoints: Mapping[str, str], stored: Mapping[str, str], standing: set[str], listed: str
) -> Known:
    """What two hashes tell; ``standing`` are the anchors that stand in the stream.

    A checkpoint without an anchor, as earlier versions wrote it, is taken as it is.
    """
    published: dict[Series, int] = {}
    doubtful: dict[Series, int] = {}
    began: dict[Series, int] = {}
    since: dict[Series, int] = {}
    ended = set()
    for name, value in checkpoints.items():
        series, (time_text, state, anchor, since_text) = series_of_field(market, name), _words(value)
        if series is None or not time_text.isdecimal():
            continue
        if since_text.isdecimal():
            since[series] = int(since_text)
        if state == _BEGAN:
            began[series] = int(time_text)
        elif anchor and anchor not in standing:
            doubtful[series] = int(time_text)
        else:
            published[series] = int(time_text)
            if state == _ENDED:
                ended.add(series)
    ends = {series_of_field(market, name): int(value) for name, value in stored.items() if value.isdecimal()}
    recorded = {series_of_field(market, name.removeprefix(RECORDED)) for name in stored if name.startswith(RECORDED)}
    return Known(
        published,
        doubtful,
        frozenset(ended),
        began,
        since,
        {series: end for series, end in ends.items() if series is not None} if STORED_AT in stored else None,
        frozenset(series for series in recorded if series is not None),
        stored.get(ASKED, ""),
        stored.get(STORED_AT, ""),
        int(listed) if listed.isdecimal() else None,
    )


def _words(value: str) -> tuple[str, str, str, str]:
    """Time, state, anchor and beginning of a value; empty for what it does not say."""
    time_text, state, anchor, since_text = (*value.split(" ")[:4], "", "", "", "")[:4]
    return time_text, state, anchor, since_text
