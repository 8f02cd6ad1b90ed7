"""Channel names and the messages that hold them."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from producers.exchange.channels import channel, control_message, pack_channels
from shared.candle import Series
from shared.interval import Interval
from shared.market import MAX_CONTROL_BYTES, Market


def test_a_channel_is_named_as_the_exchange_names_it() -> None:
    assert channel(Series(Market.COIN_FUTURES, "BTCUSD_PERP", Interval.M3)) == "btcusd_perp@kline_3m"
    assert channel(Series(Market.USDT_FUTURES, "币安人生USDT", Interval.MONTH)) == "币安人生usdt@kline_1M"


@given(st.lists(st.text(min_size=1, max_size=60), max_size=300))
def test_every_channel_is_packed_once_in_order_under_the_limit(names: list[str]) -> None:
    packs = list(pack_channels(names))
    assert [name for pack in packs for name in pack] == names
    for pack in packs:
        message = control_message("UNSUBSCRIBE", pack, 999_999_999)
        assert len(message) < MAX_CONTROL_BYTES
        assert orjson.loads(message)["params"] == list(pack)


def test_two_hundred_channels_need_few_messages() -> None:
    assert len(list(pack_channels(f"symbol{number}usdt@kline_1m" for number in range(200)))) <= 2
