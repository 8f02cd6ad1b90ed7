"""The grid of open times."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.interval import DAY_MS, Interval

times = st.integers(0, 4_102_444_800_000)


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("interval", "moment", "opens", "ends"),
    [
        ("1s", "2024-06-30T16:38:00.999", "2024-06-30T16:38:00", "2024-06-30T16:38:01"),
        ("1m", "2024-06-30T16:38:59.999", "2024-06-30T16:38:00", "2024-06-30T16:39:00"),
        ("3m", "2024-06-30T16:38:00", "2024-06-30T16:36:00", "2024-06-30T16:39:00"),
        ("8h", "2024-06-30T16:38:00", "2024-06-30T16:00:00", "2024-07-01T00:00:00"),
        ("3d", "2017-08-18T10:00:00", "2017-08-17T00:00:00", "2017-08-20T00:00:00"),
        ("3d", "2026-07-03T23:59:59", "2026-07-01T00:00:00", "2026-07-04T00:00:00"),
        ("1w", "2024-06-30T23:59:59", "2024-06-24T00:00:00", "2024-07-01T00:00:00"),
        ("1w", "2024-07-01T00:00:00", "2024-07-01T00:00:00", "2024-07-08T00:00:00"),
        ("1M", "2024-02-29T12:00:00", "2024-02-01T00:00:00", "2024-03-01T00:00:00"),
        ("1M", "2023-12-31T23:59:59", "2023-12-01T00:00:00", "2024-01-01T00:00:00"),
    ],
)
def test_a_moment_lies_in_the_candle_that_the_exchange_gives_it(
    interval: str, moment: str, opens: str, ends: str
) -> None:
    grid = Interval(interval)
    assert grid.floor(ms(moment)) == ms(opens)
    assert grid.end(ms(opens)) == ms(ends)


@given(st.sampled_from(list(Interval)), times)
def test_candles_tile_time_without_gap_or_overlap(interval: Interval, time_ms: int) -> None:
    opens = interval.floor(time_ms)
    assert opens <= time_ms < interval.end(opens)
    assert interval.is_open_time(opens)
    assert interval.floor(interval.end(opens)) == interval.end(opens)
    assert interval.floor(interval.end(opens) - 1) == opens


@pytest.mark.parametrize("interval", list(Interval))
def test_the_spelling_on_disk_leads_back_and_does_not_collide_when_case_is_folded(interval: Interval) -> None:
    assert Interval.from_disk(interval.on_disk) is interval
    assert len({interval.on_disk.lower() for interval in Interval}) == len(Interval)


@pytest.mark.parametrize("interval", list(Interval))
def test_candles_are_counted_as_they_open(interval: Interval) -> None:
    begin = interval.floor(1_719_705_600_000)
    opens = [begin]
    while len(opens) < 30:
        opens.append(interval.end(opens[-1]))
    for number, open_ms in enumerate(opens):
        assert interval.candles(begin, open_ms) == number
        assert interval.candles(begin, open_ms + 1) == number + 1
    assert interval.candles(begin, begin - 1) == 0


def test_three_day_candles_are_counted_from_one_that_was_seen() -> None:
    seen = 19_904 * DAY_MS
    for days in range(-7, 8):
        floor = Interval.D3.floor(seen + days * DAY_MS + 5, seen)
        assert (floor - seen) % (3 * DAY_MS) == 0
        assert floor <= seen + days * DAY_MS + 5 < Interval.D3.end(floor)
