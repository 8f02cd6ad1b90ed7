"""The steps of a candle's way, from what observers saw."""

from bench.latency import Published, Seen, bursts, steps, stored_times
from bench.observers import Stored, parse_id
from bench.result import Percentiles
from shared.market import Market

CLOSE_MS = 1_719_765_540_000
SPOT, FUTURES = Market.SPOT, Market.USDT_FUTURES


def published(market: Market, symbol: str, event: int, received: int, entry: int, sequence: int = 0) -> Published:
    """A candle by what each step has added, in ms after its close."""
    return Published(
        (market, symbol, CLOSE_MS), (CLOSE_MS + entry, sequence), CLOSE_MS + event, CLOSE_MS + received, is_live=True
    )


BTC = published(SPOT, "BTCUSDT", 100, 110, 114)
ETH = published(SPOT, "ETHUSDT", 200, 230, 240)
BNB = published(SPOT, "BNBUSDT", 150, 160, 240, sequence=1)
PERPETUAL = published(FUTURES, "BTCUSDT", 50, 60, 62)


def test_an_entry_is_on_disk_at_the_first_look_that_finds_all_below_a_later_one_acknowledged() -> None:
    looks = [
        Stored(CLOSE_MS + 300, SPOT, (CLOSE_MS + 240, 0)),
        Stored(CLOSE_MS + 325, FUTURES, (CLOSE_MS + 62, 1)),
        Stored(CLOSE_MS + 350, SPOT, (CLOSE_MS + 240, 1)),
    ]
    times = stored_times([ETH, PERPETUAL, BNB, BTC], looks)
    assert times == {BTC.key: CLOSE_MS + 300, PERPETUAL.key: CLOSE_MS + 325, ETH.key: CLOSE_MS + 350}


def test_each_step_is_told_since_the_one_before_and_since_the_close() -> None:
    seen = Seen(
        stored=[Stored(CLOSE_MS + 300, SPOT, (CLOSE_MS + 115, 0))],
        followed={BTC.key: CLOSE_MS + 120.0, (SPOT, "WAS_NOT_MEASURED", CLOSE_MS): 0.0},
        read={},
        sections={CLOSE_MS: CLOSE_MS + 260.0, CLOSE_MS + 60_000: 0.0},
    )
    found = {line.name: line for line in steps([BTC], seen)}
    disk = found["published to on disk, acknowledged"]
    assert (disk.step, disk.since_close) == (Percentiles(186, 186, 186), Percentiles(300, 300, 300))
    assert found["event time to received"].step == Percentiles(10, 10, 10)
    assert found["received to published"].since_close == Percentiles(114, 114, 114)
    assert found["published to rec.follow"].step == Percentiles(6, 6, 6)
    assert found["published to rec.read (20 symbols)"].step is None
    assert found["spot's last frame to its cross-section"].step == Percentiles(150, 150, 150)


def test_a_burst_lasts_from_a_market_s_last_frame_to_its_last_entry() -> None:
    spot, futures = bursts([BTC, ETH, BNB, PERPETUAL])
    assert spot.step == Percentiles(10, 10, 10)
    assert futures.since_close == Percentiles(62, 62, 62)


def test_an_id_has_two_numbers() -> None:
    assert parse_id(b"1719765540114-3") == (1_719_765_540_114, 3)
