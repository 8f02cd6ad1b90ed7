"""What is kept until it is stored: by id, bounded, forgotten in order."""

from producers.publish.resend_buffer import ResendBuffer
from shared.broker.entry import EntryId, entry_fields
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


def store(kept: ResendBuffer, end: int) -> list[EntryId]:
    """As a look that sees all that is kept in the stream, and stored before an id."""
    return kept.take_stored({number: entry_fields(item) for number, item in kept.items.items()}, EntryId(end, 0))


def test_ids_sort_as_numbers() -> None:
    texts = [b"9-10", b"9-9", b"10-0", b"10"]
    assert [str(one) for one in sorted(map(EntryId.parse, texts))] == ["9-9", "9-10", "10-0", "10-0"]


def test_what_is_stored_is_forgotten_and_nothing_else() -> None:
    kept = filled(10, 100)
    assert store(kept, 4) == []
    assert list(kept.items) == [EntryId(number, 0) for number in range(4, 10)]
    store(kept, 0)
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
    store(kept, 7)
    assert kept.take_lost([EntryId(7, 0)])[1] == {}


def test_what_is_said_to_be_stored_and_does_not_stand_in_the_stream_is_lost() -> None:
    """A stream that began anew has a group too, which acknowledges its own entries."""
    kept = filled(10, 4)
    assert kept.take_stored({}, EntryId(9, 0)) == [EntryId(6, 0), EntryId(7, 0), EntryId(8, 0)]
    other = {EntryId(6, 0): entry_fields(make_candle(ETH, JUNE_30))}
    assert kept.take_stored(other, EntryId(7, 0)) == [EntryId(6, 0)], "the same id, and something else"
    assert len(kept) == 4
    assert len(kept.take_lost([EntryId(6, 0)])[1]) == 2, "what fell out before is not forgotten"


def test_an_id_that_comes_twice_loses_nothing() -> None:
    """Another server, whose clock is behind, may give out the same ids."""
    kept = filled(4, 10)
    kept.add(EntryId(2, 0), make_candle(BTC, JUNE_30 + 9 * MINUTE))
    assert kept.is_doubtful
    assert [item.from_ms if isinstance(item, SeriesFact) else item.open_time_ms for item in kept.take_lost([])[0]] == [
        JUNE_30 + MINUTE
    ]
    assert not kept.is_doubtful
    assert list(kept.items) == [EntryId(number, 0) for number in range(4)], "in the order of their ids"
    kept.add(EntryId(1, 5), make_candle(BTC, JUNE_30 + 10 * MINUTE))
    assert list(kept.items)[1:3] == [EntryId(1, 0), EntryId(1, 5)]


def test_what_fell_out_is_in_doubt_with_the_stream() -> None:
    """All that is kept may have come to the new stream already: then nothing of it is lost."""
    kept = filled(10, 4)
    kept.doubt_dropped()
    assert kept.take_lost([])[1].keys() == {BTC, ETH}
    assert kept.take_lost([])[1] == {}, "once"


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
    store(kept, 5)
    assert len(kept) == 0
