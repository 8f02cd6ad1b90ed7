"""Where candles and facts enter a producer: the publisher takes them, the gap tracker notes what was taken."""

import logging

from producers.gaps.tracker import GapTracker
from producers.publish.publisher import Publisher
from shared.candle import Candle, Series
from shared.series_fact import FactKind, SeriesFact

log = logging.getLogger(__name__)


class Intake:
    """One market's way in."""

    def __init__(self, publisher: Publisher, tracker: GapTracker) -> None:
        self.tracker = tracker
        self.ended: dict[Series, int] = {}  # where series ended that did since the process started
        self._publisher = publisher

    @property
    def has_room(self) -> bool:
        """Whether there is room for fetched candles beside live ones."""
        return self._publisher.has_room

    def take(self, candle: Candle) -> bool:
        """Hand a candle to the publisher; one that it refuses stays missing, and is fetched later."""
        taken = self._publisher.put(candle)
        if taken:
            self.tracker.mark_received(candle)
        return taken

    def take_fact(self, fact: SeriesFact) -> None:
        """Hand a fact to the publisher; a series that ended is remembered as ended."""
        self._publisher.put_fact(fact)
        if fact.kind is FactKind.ENDED:
            self.ended[fact.series] = fact.from_ms
            log.warning("%s is not recorded any more: %s", fact.series, fact.reason)

    def revive(self, series: Series, now_ms: int) -> None:
        """A series is recorded after all, if it had ended or was on its way to."""
        self.ended.pop(series, None)
        if self.tracker.is_ending(series):
            self.tracker.expect(series, now_ms)
