"""Fixtures of these tests."""

from collections.abc import Callable
from typing import Any

import pytest

from shared.broker.keys import STORED_AT, Keys
from shared.settings.model import Settings
from tests.support.lives import MARKET, NothingLost


@pytest.fixture
def settings(make_settings: Callable[..., Settings], client: Any, keys: Keys) -> Settings:
    """Everything that is listed is recorded; a writer has said that nothing is on disk."""
    client.hset(keys.stored(MARKET), STORED_AT, "-")
    client.xadd(keys.candles(MARKET), NothingLost.fields, id=str(NothingLost.entry_id))
    return make_settings(
        record=[{"market": MARKET, "symbols": ["*"], "intervals": ["1m"]}], exchange={"symbols_seconds": 0.01}
    )
