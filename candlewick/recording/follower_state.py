"""What a named follower was given, kept in the broker: it goes on where it stopped, on whatever host.

A hash a name and market (``Keys.follower``). For each series the ranges of open times that were delivered; beside them

    @owner      who follows by this name now: whoever came last; the one before is told, and ends
    @begin      where the follower began (``delivered.Beginning``)
    @handing    keys of the candles that are being handed over: after a crash nobody knows which of them arrived
    @length     bytes of the follower's output file that hold exactly what is delivered, if it writes one

A batch is named before it is handed over, and added to what was delivered afterwards: a follower that ends at any
instant is given again only candles of its last batch, and those are marked. A broker that lost the hash gets it back
while the follower lives.
"""

import logging
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from redis.exceptions import RedisError, WatchError

from candlewick.recording.delivered import Arrived, Beginning, Delivered, spans_of, spans_text
from shared.broker.client import CONNECTION_ERRORS, SyncClient, fatal_answer
from shared.broker.keys import Keys
from shared.candle import Series, series_of_field
from shared.errors import CandlewickError
from shared.market import Market
from shared.process.backoff import backoff
from shared.process.once import SayOnce
from shared.settings.model import Settings
from shared.spans import Spans

log = logging.getLogger(__name__)

_OWNER, _BEGIN, _HANDING, _LENGTH = "@owner", "@begin", "@handing", "@length"

Key = tuple[Series, int]


class FollowerReplacedError(CandlewickError):
    """Somebody else follows by the same name now."""


class FollowerState:
    """One name in one market. Making one raises what redis-py raises while the broker is away; saving waits for it.

    Attributes:
        name: the follower's.
        delivered: the account as it was saved last; None for a name that is new.
        handing: keys that may have been delivered, or not.
        length: of the output file in bytes; None where none was noted.
    """

    def __init__(self, settings: Settings, client: SyncClient, market: Market, name: str) -> None:
        self.name = name
        self.delivered: Delivered | None = None
        self.handing: frozenset[Key] = frozenset()
        self.length: int | None = None
        self._client: Any = client
        self._settings = settings
        self._key = Keys(settings.broker.prefix).follower(market, name)
        self._market = market
        self._owner = uuid.uuid4().hex
        self._stop = threading.Event()
        self._warn = SayOnce(log.warning)
        self._saved: dict[str, str] = {}
        self._confirmed: dict[Series, Spans] = {}
        self._batch: Sequence[Arrived] = ()
        self._doubtful: set[Key] = set()
        self._load()

    def _load(self) -> None:
        self._client.hset(self._key, _OWNER, self._owner)  # from here on nobody else confirms anything
        found = {name.decode(): value.decode() for name, value in self._client.hgetall(self._key).items()}
        if _BEGIN not in found:
            return
        spans = {self._series(name): spans_of(text) for name, text in found.items() if not name.startswith("@")}
        self._confirmed = {series: known.copy() for series, known in spans.items()}
        self.delivered = Delivered(Beginning.parse(found[_BEGIN]), spans)
        self.length = int(found[_LENGTH]) if _LENGTH in found else None
        keys = (part.rpartition(" ") for part in found.get(_HANDING, "").split(",") if part)
        self.handing = frozenset((self._series(name), int(open_ms)) for name, _, open_ms in keys)
        self._doubtful = set(self.handing)
        self._saved = {name: value for name, value in found.items() if name != _OWNER}

    def _series(self, field: str) -> Series:
        series = series_of_field(self._market, field)
        if series is None:
            raise CandlewickError(f"follower {self.name!r} has a field {field!r:.80} that is not a series: forget it")
        return series

    def begin(self, beginning: Beginning) -> None:
        """Say where a new name begins."""
        self._save({_BEGIN: str(beginning)})

    def hand_over(self, batch: Sequence[Arrived]) -> None:
        """Say which candles are being delivered. FollowerReplacedError when the name is another's now, as below."""
        self._batch = batch
        self._save({_HANDING: _keys_text({*self._doubtful, *map(_key, batch)})})

    def confirm(self, length: int | None = None) -> None:
        """Say that they were delivered, and how long the output file is with them."""
        for one in self._batch:
            self._confirmed.setdefault(one.series, Spans()).add(one.open_time_ms, one.end_time_ms)
        changed = {one.series.field: spans_text(self._confirmed[one.series]) for one in self._batch}
        self._doubtful.difference_update(map(_key, self._batch))
        changed[_HANDING] = _keys_text(self._doubtful)
        self._batch = ()
        self._save(changed | ({} if length is None else {_LENGTH: str(length)}))

    def stop(self) -> None:
        """Wait for no broker any more; what is not saved then comes again. From any thread."""
        self._stop.set()

    def _save(self, changed: Mapping[str, str]) -> None:
        """Save, however long the broker is away."""
        self._saved |= changed
        pauses = backoff()
        while True:
            try:
                self._try_save(changed)
            except WatchError:  # somebody changed it in this instant: look again whose it is
                continue
            except (RedisError, *CONNECTION_ERRORS) as error:
                fatal = fatal_answer(error, self._settings)
                if fatal is not None:
                    raise fatal from error
                self._warn("what %s was given is not saved yet: %s", self.name, error)
                if self._stop.wait(next(pauses)):
                    return
            else:
                return

    def _try_save(self, changed: Mapping[str, str]) -> None:
        with self._client.pipeline(transaction=True) as pipeline:
            pipeline.watch(self._key)
            owner = pipeline.hget(self._key, _OWNER)
            if owner is not None and owner.decode() != self._owner:
                raise FollowerReplacedError(f"somebody else follows as {self.name!r} now")
            pipeline.multi()
            pipeline.hset(self._key, mapping=changed if owner is not None else self._saved | {_OWNER: self._owner})
            pipeline.execute()


def _key(arrived: Arrived) -> Key:
    return arrived.series, arrived.open_time_ms


def _keys_text(keys: Iterable[Key]) -> str:
    return ",".join(f"{series.field} {open_ms}" for series, open_ms in keys)


def forget_follower(client: SyncClient, keys: Keys, market: Market, name: str) -> bool:
    """Forget a name; whether there was any."""
    untyped: Any = client
    return bool(untyped.delete(keys.follower(market, name)))
