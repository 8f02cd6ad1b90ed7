"""One life of a producer in a world in memory (tests/support/broker_world.py): real parts, driven step by step."""

from collections.abc import Coroutine, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from producers.exchange.page import Answer, Page
from producers.exchange.symbols import Listing
from producers.gaps.intake import Intake
from producers.gaps.repair import Repairer
from producers.gaps.tracker import GapTracker
from producers.live.checkpoints import Checkpoints
from producers.live.members import Division
from producers.live.selection import Selection
from producers.live.series_set import SeriesSet
from producers.live.share import Share
from producers.live.sharing import Sharing
from producers.publish.publisher import Publisher
from producers.publish.verify import StreamVerifier
from shared.broker.keys import Keys
from shared.candle import Series
from shared.interval import MINUTE_MS, Interval
from shared.market import Market
from shared.settings.load import load_settings
from tests.support.candles import JUNE_30, make_candle

if TYPE_CHECKING:
    from tests.support.broker_world import World

MARKET = Market.SPOT
SERIES = tuple(Series(MARKET, symbol, Interval.M1) for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"))
KEYS = Keys("candlewick")
BUFFER_CANDLES, BATCH_CANDLES = (9, 1000), 3
GRACE_MS = 1000
_T = TypeVar("_T")

SETTINGS = {
    (redundancy, buffer_candles): load_settings(
        flags={
            "broker": {"url": "redis://localhost/0"},
            "record": [{"market": "spot", "symbols": [one.symbol for one in SERIES], "intervals": ["1m"]}],
            "publisher": {"buffer_candles": buffer_candles, "batch_candles": BATCH_CANDLES},
            "repair": {"grace_seconds": GRACE_MS / 1000, "quiet_seconds": 60},
            "sharing": {"redundancy": redundancy},
        }
    )
    for redundancy in (1, 2)
    for buffer_candles in BUFFER_CANDLES
}


def driven(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: _T = stop.value
        return result
    raise AssertionError("it waits")


class Killed(BaseException):  # nothing of the product's may catch it
    """The producer dies, here."""


class Clock:
    """Stands in the place of ``time.monotonic``."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Exchange:
    """Has every candle that has closed, but for its holes; what the world's time is, it says."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.symbols = SimpleNamespace(first_ms=JUNE_30)
        self.heard_since_ms = JUNE_30

    @property
    def now_ms(self) -> int:
        return self._world.now_ms

    async def known(self) -> int:
        return self._world.now_ms

    async def ask(self, *, fresh: bool = False) -> int:
        del fresh
        return self._world.now_ms

    def is_stale(self) -> bool:
        return False

    async def listings(self) -> list[Listing]:
        return [Listing(series.symbol, "TRADING") for series in SERIES]

    async def klines(self, series: Series, page: Page, closed_before_ms: int) -> Answer:
        end_ms = closed_before_ms if page.end_ms is None else min(page.end_ms, closed_before_ms)
        times = range(page.from_ms, end_ms - MINUTE_MS + 1, MINUTE_MS)
        rows = [make_candle(series, time_ms) for time_ms in times if time_ms not in self._world.holes][: page.limit]
        return Answer(rows, rows[-1].end_time_ms if len(rows) == page.limit else min(page.covers_to_ms, end_ms))


class Ears:
    """What is listened to; whether anything comes, the world knows."""

    def __init__(self) -> None:
        self.series: set[Series] = set()
        self.is_deaf = False

    async def add_series(self, series: Sequence[Series]) -> None:
        self.series.update(series)

    async def remove_series(self, series: Sequence[Series]) -> None:
        self.series.difference_update(series)

    def delivers_since(self, moment: float) -> bool:
        del moment
        return not self.is_deaf


class Life:
    """One life of a producer."""

    def __init__(self, world: "World", place: int) -> None:
        exchange: Any = Exchange(world)
        self.ears = Ears()
        ears: Any = self.ears
        client: Any = world.broker
        settings = SETTINGS[world.redundancy, world.buffer_candles]
        self._world = world
        self.busy: set[str] = set()  # tasks that are under way
        self.tracker = GapTracker(GRACE_MS, 60_000)
        self.publisher = Publisher(client, MARKET, settings, self.tracker)
        self.publisher.is_running = True
        self.intake = Intake(self.publisher, self.tracker)
        self.verifier = StreamVerifier(client, settings, MARKET, self.publisher, self.tracker)
        self.repairer = Repairer(self.intake, exchange, exchange, settings.repair)
        self.sharing = Sharing(client, MARKET, settings, Share(), world.clock)
        name = f"{place}-{world.rng.choice('ab')}"  # one that comes back may have the name that it had
        self.sharing._me = self.sharing._me._replace(name=name, host=f"{place}")
        self.sharing.division = Division(self.sharing._me, (), settings.sharing.redundancy)
        self.selection = Selection(MARKET, settings, Share(), self.sharing.division)
        checkpoints = Checkpoints(client, KEYS, MARKET)
        self.series_set = SeriesSet(
            self.selection, ears, self.intake, checkpoints, self.verifier, exchange, exchange, self.sharing
        )
        driven(self.series_set._apply(0))

    def beat(self) -> None:
        """Say how this producer is, look at the others, and go by what they say."""
        driven(self.sharing.beat(self.series_set.settled_in, hears=not self.ears.is_deaf))

    def divide(self) -> None:
        """Take up and let go what the others' coming and going asks for."""
        if self.sharing.division is not self.selection.division:
            driven(self.series_set._apply(self._world.now_ms))

    def hear(self, series: Series) -> None:
        """The newest candle comes over the WebSocket, if it is listened to."""
        time_ms = self._world.now_ms - GRACE_MS - MINUTE_MS
        is_heard = series in self.ears.series and not self.ears.is_deaf
        if is_heard and time_ms >= JUNE_30 and time_ms not in self._world.holes:
            self.intake.take(make_candle(series, time_ms))

    def send(self) -> None:
        """Some of what is held goes to the broker; the answer may be lost."""
        held = tuple(self.publisher._held)[:BATCH_CANDLES]
        if held:
            driven(self.publisher._send(held))

    def look(self) -> None:
        """The verifier's own look."""
        driven(self.verifier._look())

    def resume(self) -> None:
        """Find out where series continue, if a look has been had."""
        if self.series_set._has_looked or driven(self.series_set._look()) is not None:
            driven(self.series_set._resume.look())

    def save(self) -> None:
        """Write checkpoints."""
        driven(self.series_set.save())

    def repair(self) -> None:
        """Ask the exchange for what is missing."""
        if not self.intake.has_room:
            return
        questions = self.tracker.questions(self._world.now_ms)
        driven(self.series_set.look_at_others([question.series for question in questions]))
        for question in self.tracker.questions(self._world.now_ms):
            self.tracker.start(question)
            driven(self.repairer._put(question, self._world.now_ms))
