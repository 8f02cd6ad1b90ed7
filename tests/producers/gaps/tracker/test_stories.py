"""Whatever happens to a series, every candle is received and every hole is absent."""

from collections.abc import Iterable
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from producers.gaps.tracker import GapTracker, MarketTally
from shared.candle import Series
from shared.interval import HOUR_MS, Interval
from shared.market import Market
from shared.series_fact import FactKind
from shared.spans import Spans
from tests.support.candles import BTC, make_candle
from tests.support.gaps import COIN, GRACE, QUIET, Exchange, Recorder, grid_of, minute


def spans_of(series: Series, opens: Iterable[int]) -> Spans:
    return Spans((open_ms, series.interval.end(open_ms)) for open_ms in opens)


def test_the_tally_tells_due_from_missing() -> None:
    account = GapTracker(GRACE, QUIET)
    account.expect(BTC, minute(0))
    account.expect(COIN, minute(2))
    account.mark_received(make_candle(open_time_ms=minute(1)))
    assert account.tally(minute(3)) == MarketTally(due=2, missing=1, repaired=0, absent=0)
    assert account.tally(minute(3) + GRACE) == MarketTally(due=0, missing=3, repaired=0, absent=0)


INTERVALS = [Interval.M1, Interval.M15, Interval.H1, Interval.D1, Interval.D3, Interval.W1, Interval.MONTH]


FATES = ["in time"] * 6 + ["lost"] * 3 + ["hole"] * 2 + ["late", "twice", "very late"]


@dataclass(frozen=True)
class Story:
    """A run: what happens to each candle, and where recording begins."""

    series: Series
    phase: int
    history: int
    born: int
    reaches_back: bool
    fates: tuple[str, ...]
    traded: tuple[bool, ...]
    refused: frozenset[int]
    garbled: frozenset[int]
    unanswered: frozenset[int]
    delay_steps: int
    quiet_ms: int


@st.composite
def stories(draw: st.DrawFn) -> Story:
    market = draw(st.sampled_from(list(Market)))
    interval = draw(st.sampled_from(INTERVALS))
    fates = tuple(draw(st.lists(st.sampled_from(FATES), min_size=1, max_size=25)))
    few = st.frozensets(st.integers(0, 40), max_size=6)
    history = draw(st.sampled_from([0, 0, 1, 3, 30, 300]))
    return Story(
        series=Series(market, "BTCUSD_PERP", interval),
        phase=draw(st.integers(0, 2)) if interval is Interval.D3 else 0,
        history=history,
        born=draw(st.integers(0, history)) if history else 0,
        reaches_back=draw(st.booleans()),
        fates=fates,
        traded=tuple(draw(st.lists(st.booleans(), min_size=1, max_size=5))),
        refused=draw(few),
        garbled=draw(few),
        unanswered=draw(few),
        delay_steps=draw(st.integers(0, 3)),
        quiet_ms=draw(st.sampled_from([0, GRACE, QUIET])),
    )


@settings(max_examples=400)
@given(stories(), st.integers(0, 99))
def test_whatever_happens_every_candle_is_held_and_every_hole_and_nothing_else_is_absent(
    story: Story, into_candle: int
) -> None:
    series, interval = story.series, story.series.interval
    # given an exchange that is older than the recording, or younger than its history
    grid = grid_of(interval, story.phase, story.history, story.history + len(story.fates) + 60)
    length = interval.end(grid[story.history]) - grid[story.history]
    holes, frames = set[int](), dict[int, list[int]]()
    tail = grid[story.history + len(story.fates) :]
    for open_ms, fate in zip(grid[story.history :], story.fates, strict=False):
        end_ms = interval.end(open_ms)
        delays = {"in time": [40], "late": [GRACE + 700], "twice": [40, 90_000], "very late": [2 * length + 30_000]}
        if fate == "hole":
            holes.add(open_ms)
        for delay in delays.get(fate, []):
            frames.setdefault(end_ms + delay, []).append(open_ms)
    born = grid[min(story.born, len(grid) - 1)]
    exchange = Exchange(
        series,
        born,
        grid[-1] + 1,
        holes,
        trades=lambda open_ms: int(story.traded[(open_ms // HOUR_MS) % len(story.traded)]),
    )
    start_ms = grid[story.history] + (length * into_candle) // 100
    found = Recorder(
        exchange,
        start_ms,
        quiet_ms=story.quiet_ms,
        refused=set(story.refused),
        garbled=set(story.garbled),
        unanswered=set(story.unanswered),
        delay_steps=story.delay_steps,
        resolved=False,
    )
    expected_from = grid[0] if story.history else grid[story.history]
    reaches_back = story.reaches_back or born > grid[0]
    if story.history:
        found.account.resume(series, expected_from, may_begin_later=reaches_back)
    else:
        found.account.resume(series)
    # when time goes on until the exchange has been healthy for a while
    frames |= found.live(tail)
    found.run(interval.end(grid[-1]) + 1000, max(length // 9, 1000), frames)
    # then nothing is missing, and no more was asked than there were causes
    wanted = [open_ms for open_ms in exchange.opens if open_ms >= expected_from]
    assert set(wanted) <= set(found.held)
    is_history = bool(story.history) and reaches_back
    expected_holes = spans_of(series, [open_ms for open_ms in holes if not is_history or open_ms >= exchange.opens[0]])
    before = Spans([(0, exchange.opens[0] if is_history else born)])
    noted = Spans(gap for note in found.absent for gap in before.gaps(note.begin_ms, note.end_ms))
    assert noted == expected_holes
    if interval is not Interval.D3:
        assert found.absent == expected_holes
    absences = [note for note in found.notes if note.kind is FactKind.ABSENT]
    assert all(interval is Interval.D3 or interval.is_open_time(note.to_ms) for note in absences)
    causes = len(story.fates) + len(story.refused) + len(story.garbled) + len(story.unanswered)
    pages = story.history // 6 + 2
    assert found.questions <= 12 * causes + pages + 20
    assert found.end is None
