"""When to flush."""

from consumer.group.batch import Batch
from shared.broker.entry import Entry
from shared.candle import Series
from shared.market import Market
from tests.support.candles import BTC, make_candle

ETH = BTC._replace(symbol="ETHUSDT")


def entries(*numbers: int, series: Series = BTC) -> list[Entry]:
    return [Entry(Market.SPOT, f"{number}-0".encode(), make_candle(series)) for number in numbers]


def batch(most: int = 100, series: int = 100) -> Batch:
    return Batch(flush_seconds=0.5, flush_max_seconds=10, max_candles=most, max_series=series)


def ids(groups: dict[Series, list[Entry]]) -> list[bytes]:
    return [entry.id for group in groups.values() for entry in group]


def test_a_series_is_due_a_short_pause_after_its_first_entry() -> None:
    waiting = batch()
    assert waiting.due_in(0) is None
    waiting.add(entries(1), now=100)
    waiting.add(entries(2), now=100.4)
    assert waiting.due(100.4) == {}
    assert waiting.due_in(100.5) == 0
    waiting.add(entries(3, series=ETH), now=100.1)
    assert ids(waiting.due(100.5)) == [b"1-0", b"2-0"]
    assert ids(waiting.due(100.6)) == [b"1-0", b"2-0", b"3-0"]


def test_those_that_have_waited_longest_come_first_and_so_many_at_a_time() -> None:
    waiting = batch(series=1)
    waiting.add(entries(1, series=ETH), now=100)
    waiting.add(entries(2), now=100.1)
    waiting.add(entries(3, series=ETH), now=100.2)
    assert ids(waiting.due(101)) == [b"1-0", b"3-0"]
    waiting.remove(entries(1, 3, series=ETH))
    waiting.note_flush([ETH], 0.3, now=101.3)
    waiting.add(entries(4, series=ETH), now=101.3)
    assert ids(waiting.due(101.3)) == [b"2-0"], "no rest before all is written that was due"


def test_a_series_that_failed_and_of_which_nothing_waits_any_more_is_never_due() -> None:
    """Else whoever asks how long to wait would not wait at all."""
    waiting = batch()
    waiting.retry(BTC, retry_at=5)
    assert waiting.due_in(6) is None
    assert waiting.failing == ()


def test_a_full_batch_is_due_at_once() -> None:
    waiting = batch(most=3)
    waiting.add(entries(1, 2), now=100)
    assert waiting.room == 1
    waiting.add(entries(3), now=100)
    assert (waiting.room, waiting.due_in(100)) == (0, 0)
    assert len(ids(waiting.due(100))) == 3


def test_after_a_busy_time_the_writer_rests_for_as_long_and_not_for_longer_than_is_allowed() -> None:
    for busy, rest in ((4.0, 4.0), (99.0, 10.0), (0.01, 0.5)):
        waiting = batch()
        waiting.add(entries(1), now=0)
        waiting.note_flush([ETH], busy / 2, now=100 - busy / 2)
        waiting.remove(entries(1))
        waiting.note_flush([BTC], busy / 2, now=100)
        waiting.add(entries(2), now=100)
        assert waiting.due_in(100) == rest
        assert waiting.due(100 + rest / 2) == {}
        assert ids(waiting.due(100 + rest)) == [b"2-0"]


def test_a_rest_holds_up_nothing_that_comes_after_it_and_no_full_batch() -> None:
    waiting = batch(most=2)
    waiting.note_flush([BTC], 4, now=100)
    waiting.add(entries(1), now=200)
    assert waiting.due_in(200) == 0.5
    waiting.note_flush([BTC], 4, now=200)
    waiting.add(entries(2), now=200)
    assert ids(waiting.due(200)) == [b"1-0", b"2-0"]


def test_behind_a_long_backlog_it_rests_for_as_long_as_the_last_round_and_not_after_it_started_over() -> None:
    waiting = batch()
    for number in range(100):
        waiting.add(entries(number), now=number)
        waiting.note_flush([ETH], 1, now=number + 0.5)
        waiting.note_flush([BTC], 1, now=number + 0.6)
    waiting.remove(entries(*range(100)))
    waiting.note_flush([BTC], 1, now=200)
    waiting.add(entries(100), now=200)
    assert waiting.due_in(200) == 1
    waiting.clear()
    waiting.add(entries(100), now=200)
    assert waiting.due_in(200) == 0.5


def test_a_series_that_could_not_be_written_waits_alone_and_holds_up_no_other() -> None:
    waiting = batch()
    waiting.add(entries(1) + entries(2, series=ETH), now=0)
    waiting.remove(entries(2, series=ETH))
    waiting.retry(BTC, retry_at=9)
    waiting.note_flush([BTC], 0, now=0.5)
    assert waiting.due_in(1) == 8
    waiting.add(entries(3) + entries(4, series=ETH), now=2)
    assert ids(waiting.due(2.5)) == [b"4-0"]
    assert ids(waiting.due(9)) == [b"1-0", b"3-0", b"4-0"]
    waiting.remove(entries(1, 3))
    assert waiting.failing == ()


def test_trying_a_failing_series_again_does_not_forget_that_healthy_ones_wait() -> None:
    waiting = batch()
    waiting.add(entries(1), now=0)
    waiting.retry(BTC, retry_at=1)
    waiting.note_flush([BTC], 0, now=0.5)
    waiting.add(entries(2, series=ETH), now=0.9)
    assert ids(waiting.due(1)) == [b"1-0"]
    waiting.retry(BTC, retry_at=2)
    waiting.note_flush([BTC], 0, now=1)
    assert ids(waiting.due(1.4)) == [b"2-0"]


def test_failing_entries_fill_at_most_half_of_the_batch() -> None:
    waiting = batch(most=10)
    waiting.add(entries(*range(6)) + entries(*range(10, 14), series=ETH), now=0)
    waiting.retry(BTC, retry_at=5)
    assert waiting.forget_excess() == 6
    assert waiting.room == 6
    waiting.retry(ETH, retry_at=5)
    assert waiting.forget_excess() == 0
    assert waiting.failing == (ETH,)


def test_an_entry_claimed_from_ourselves_is_not_taken_twice() -> None:
    waiting = batch()
    waiting.add(entries(1, 2), now=0)
    waiting.add(entries(2), now=0)
    assert ids(waiting.everything()) == [b"1-0", b"2-0"]


def test_forgetting_leaves_nothing_due() -> None:
    waiting = batch()
    waiting.add(entries(1), now=0)
    waiting.retry(BTC, retry_at=1)
    waiting.clear()
    assert (len(waiting), waiting.due_in(99), waiting.everything()) == (0, None, {})
