"""What following needs besides: a feed, where it begins, and the exchange's clock."""

import contextlib
import time
from typing import TYPE_CHECKING

from candlewick.recording.access import Access
from candlewick.recording.delivered import Beginning, Delivered
from candlewick.recording.query import Selection
from consumer.dataset.dataset import ALWAYS_MS
from shared.broker.entry import decode_entry
from shared.candle import Candle
from shared.errors import CandlewickError, MalformedCandleError
from shared.market import Market
from shared.spans import Span

if TYPE_CHECKING:
    from candlewick.recording.cross_sections import MarketClock
    from candlewick.recording.feed import Feed

_LOOKED_BACK = 500  # entries of a stream, for the newest event time


class LiveAccess(Access):
    """Access that goes on where the store ends. BrokerError without a broker, BrokerAwayError where none answers."""

    def clock(self, market: Market) -> "MarketClock":
        """The exchange's time in a market, as the newest candle in its stream tells it."""
        from candlewick.recording.cross_sections import MarketClock
        from shared.broker.client import broker_errors

        clock, client = MarketClock(), self._broker()
        with broker_errors(self.settings):
            entries = client.xrevrange(self._keys.candles(market), count=_LOOKED_BACK)
        for _, fields in entries:
            with contextlib.suppress(MalformedCandleError):
                item = decode_entry(market, fields)
                if isinstance(item, Candle):
                    clock.note(item.event_time_ms, item.receive_time_ms)
        return clock

    def _one_market(self, selection: Selection) -> Market:
        if len(selection.markets) != 1:
            raise CandlewickError(f"name one market: {', '.join(Market)}")
        return selection.markets[0]

    def _feed(self, market: Market, selection: Selection, delivered: Delivered) -> "Feed":
        from candlewick.recording.feed import Feed
        from shared.broker.client import broker_errors

        with broker_errors(self.settings):
            self._check_source(self._broker(), market)
        return Feed(self.settings, market, selection, delivered, lambda: self._joined(selection))

    def _beginning(self, selection: Selection, span: Span) -> Beginning:
        """Where whoever follows begins: a time, or the newest candle's end."""
        if span.begin_ms > -ALWAYS_MS:
            return Beginning(span.begin_ms, is_open=True)
        from consumer.dataset.figures import newest_ends
        from shared.broker.client import broker_errors

        with broker_errors(self.settings):
            reader = self._joined(selection)
        newest = [end_ms for one, end_ms in newest_ends(self._dataset, selection.markets).items() if one in selection]
        published = [reader.unstored(one).spans.last_ms for one in reader.series() if one in selection]
        ends = [*newest, *(end_ms for end_ms in published if end_ms)]
        now_ms = self.clock(selection.markets[0]).now_ms or time.time_ns() // 1_000_000  # nothing is recorded yet
        return Beginning(max(ends, default=now_ms), is_open=False)
