"""Fixtures of these tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from producers.exchange.weight import WeightBudget
from shared.market import Market
from shared.settings.sections import ExchangeSettings
from tests.support.weight import USDT, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def budget(tmp_path: Path, clock: Clock) -> Callable[..., WeightBudget]:
    """Another process of the same host, with each call."""

    def make(market: Market = USDT, *, patient: bool = False, **settings: Any) -> WeightBudget:
        values = {"weight_folder": str(tmp_path / "weight"), "weight_share": 0.5} | settings
        return WeightBudget(market, ExchangeSettings(**values), patient=patient, clock=clock)

    return make
