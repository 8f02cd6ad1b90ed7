"""Names of the keys in the broker, and who writes and who reads each of them: the contract between processes."""

from dataclasses import dataclass

from shared.market import Market

NO_MARKET = "all"
"""The hash tag of keys that belong to no market."""

TAGS = (*(market.value for market in Market), NO_MARKET)
"""The hash tag of every key: what is in its braces. A Redis Cluster keeps keys of one tag together."""

ASKED = "asked"
"""Field of ``Keys.stored``: a producer's question up to where the disk has each series, a word of its own."""

STORED_AT = "stored-at"
"""Field of ``Keys.stored`` that a writer sets when it has said all it found: the question that it looked for, if any.

Where it is missing, or is not what is asked, a writer looks at the disk and says what it finds. No series is called so.
"""

RECORDED = "recorded "
"""Before a series' field: one more field of ``Keys.stored``, of each series that a producer records, by its facts."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Names of the keys under one prefix.

    The market, or ``all``, stands in braces, Redis Cluster's hash tag: all keys of a market share a slot.

    | key | kind | written by | read by |
    |---|---|---|---|
    | candles | stream | producers; ``dead-letters requeue`` | writers (group), refill, replay, verify, readers |
    | dead_letters | stream | writers; ``dead-letters requeue``, ``drop`` | ``dead-letters``, ``status`` |
    | checkpoints | hash | producers | producers when a series is new, ``symbols`` |
    | stored | hash | writers; producers ask (``ASKED``) | producers: new series, a lost stream |
    | symbols | hash | ``candlewick symbols`` | producers, ``symbols`` |
    | crash_count | hash | one writer | the same writer |
    | sources | string, a source a line | producers, writers, whoever is first | producers, writers, replay |
    | follower | hash | ``follow`` with a name | the same |
    | members | hash | producers, each its own field | producers of the same market |
    | weight | string that expires | producers, backfills, whose hosts share an address | the same |
    | heartbeat | string that expires | every process its own | ``status``, ``health`` |
    """

    prefix: str

    def candles(self, market: Market) -> str:
        """Stream of a market's closed candles, and of facts about its series."""
        return f"{self.prefix}:candles:{{{market}}}"

    def dead_letters(self, market: Market) -> str:
        """Stream of a market's entries that could not be stored, each with its reason."""
        return f"{self.prefix}:dead-letters:{{{market}}}"

    def checkpoints(self, market: Market) -> str:
        """Hash of a market's series: up to where each is published without a gap."""
        return f"{self.prefix}:progress:{{{market}}}"

    def stored(self, market: Market) -> str:
        """Hash of a market's series: up to where each is on disk without a hole, as a writer found it."""
        return f"{self.prefix}:stored:{{{market}}}"

    def symbols(self, market: Market) -> str:
        """Hash of what ``candlewick symbols`` added to a market's settings, or took away."""
        return f"{self.prefix}:symbols:{{{market}}}"

    def members(self, market: Market) -> str:
        """Hash of the producers that share a market's series (``producers.live.members``)."""
        return f"{self.prefix}:members:{{{market}}}"

    def weight(self, pool: str, address: str) -> str:
        """The bucket of request weight of all hosts behind one public address (``producers.exchange.weight``)."""
        return f"{self.prefix}:weight:{{{NO_MARKET}}}:{pool}:{address}"

    def crash_count(self, consumer: str) -> str:
        """Hash of how often a writer has started since a flush last stored something (``consumer.recovery.poison``)."""
        return f"{self.prefix}:starts:{{{NO_MARKET}}}:{consumer}"

    def sources(self, market: Market) -> str:
        """Which exchange a market's candles come from (``shared.broker.sources``)."""
        return f"{self.prefix}:sources:{{{market}}}"

    def follower(self, market: Market, name: str) -> str:
        """Hash of what a named follower was given (``candlewick.recording.follower_state``)."""
        return f"{self.prefix}:follower:{{{market}}}:{name}"

    def heartbeat(self, role: str, name: str) -> str:
        """What one living process says of itself: JSON."""
        return f"{self.prefix}:heartbeat:{{{NO_MARKET}}}:{role}:{name}"
