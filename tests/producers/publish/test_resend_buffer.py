"""What is kept until it is stored: by id, bounded, forgotten in order."""

from producers.publish.resend_buffer import ResendBuffer
from shared.broker.entry import EntryId
from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from shared.series_fact import FactKind, SeriesFact
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle

ETH = Series(Market.USDT_FUTURES, "ETHUSDT", Interval.M1)


def filled(count: int, most: int) -> ResendBuffer:
    kept = ResendBuffer(most)
    for number in range(count):
        kept.add(EntryId(number, 0), make_candle((BTC, ETH)[number % 2], JUNE_30 + number // 2 * MINUTE))
    return kept


def test_ids_sort_as_numbers() -> None:
    texts = [b"9-10", b"9-9", b"10-0", b"10"]
    assert [str(one) for one in sorted(map(EntryId.parse, texts))] == ["9-9", "9-10", "10-0", "10-0"]


def test_what_is_stored_is_forgotten_and_nothing_else() -> None:
    kept = filled(10, 100)
    kept.forget_before(EntryId(4, 0))
    assert list(kept.items) == [EntryId(number, 0) for number in range(4, 10)]
    kept.forget_before(EntryId(0, 0))
    assert len(kept) == 6


def test_at_the_bound_the_oldest_fall_out_and_are_known_by_series_and_time() -> None:
    kept = filled(10, 4)
    assert list(kept.items) == [EntryId(number, 0) for number in range(6, 10)]
    items, dropped = kept.take_lost([EntryId(6, 0), EntryId(8, 0)])
    assert [item.series for item in items] == [BTC, BTC]
    assert dropped == {BTC: (JUNE_30, JUNE_30 + 3 * MINUTE), ETH: (JUNE_30, JUNE_30 + 3 * MINUTE)}
    assert kept.take_lost([EntryId(7, 0)])[1] == {}, "once"


def test_what_fell_out_is_not_lost_when_the_oldest_is_still_there() -> None:
    kept = filled(10, 4)
    assert kept.take_lost([EntryId(9, 0)])[1] == {}


def test_what_fell_out_and_was_stored_is_forgotten() -> None:
    kept = filled(10, 4)
    kept.forget_before(EntryId(7, 0))
    assert kept.take_lost([EntryId(7, 0)])[1] == {}


def test_one_that_falls_out_while_the_stream_is_read_is_fetched_again() -> None:
    kept = filled(4, 4)
    kept.add(EntryId(4, 0), make_candle(BTC, JUNE_30 + 2 * MINUTE))
    items, dropped = kept.take_lost([EntryId(0, 0), EntryId(3, 0)])
    assert len(items) == 1
    assert dropped == {BTC: (JUNE_30, JUNE_30 + MINUTE)}


def test_facts_are_few_and_all_kept() -> None:
    kept = ResendBuffer(1)
    note = SeriesFact(BTC, FactKind.BEGAN, JUNE_30, JUNE_30, JUNE_30)
    kept.add(EntryId(1, 0), note)
    for number in (2, 3):
        kept.add(EntryId(number, 0), make_candle())
    assert list(kept.items) == [EntryId(1, 0), EntryId(3, 0)]
    assert kept.take_lost([EntryId(1, 0)]) == ([note], {})
    kept.add(EntryId(4, 0), note)
    kept.forget_before(EntryId(4, 1))
    assert len(kept) == 0
