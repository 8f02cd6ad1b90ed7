"""Entries that fail their series, or end the writer, are isolated."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import consumer.storage.candle_store
import consumer.writer
from consumer.group.dead_letters import dead_letters
from consumer.storage.layout import series_folder
from consumer.storage.table import rows_from_candles
from shared.broker.keys import Keys
from shared.candle import Candle
from shared.market import Market
from shared.settings.model import Settings
from tests.support.candles import BTC, JUNE_30, MINUTE, make_candle
from tests.support.waiting import wait_until
from tests.support.writing import ETH, candles, environment_of, pending, publish, stored, writing


def test_an_entry_that_no_store_can_take_is_tried_then_goes_to_the_dead_letters_and_all_others_are_stored(
    make_settings: Callable[..., Settings], client: Any, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An internal error: nothing that passes the checks is known to be like this, so the merge is broken here."""
    settings = make_settings(writer={"tries": 3})
    tried: list[int] = []
    real = rows_from_candles

    def merge(items: list[Candle]) -> Any:
        if any(item.close == "666" for item in items):
            tried.append(len(items))
            raise ZeroDivisionError("poison")
        return real(items)

    monkeypatch.setattr(consumer.storage.candle_store, "rows_from_candles", merge)
    publish(client, keys, [*candles(3), make_candle(open_time_ms=JUNE_30 + 3 * MINUTE, close="666"), *candles(3, ETH)])
    with writing(settings, speed=40) as writer:
        wait_until(lambda: stored(settings) == [0, 1, 2] and stored(settings, ETH) == [0, 1, 2])
        wait_until(lambda: client.xlen(keys.dead_letters(Market.USDT_FUTURES)) == 1)
        wait_until(lambda: pending(client, keys) == 0)
        wait_until(lambda: writer.batch.due_in(0) is None)
        assert writer._journal.written_by_market[Market.USDT_FUTURES] == 6, "those that were written alone, too"
    assert tried == [4, 4, 4, 1, 1]
    (letter,) = dead_letters(client, keys, Market.USDT_FUTURES)
    assert "by an internal error: ZeroDivisionError('poison')" in letter.reason
    assert letter.fields[b"close"] == b"666"


def test_an_internal_error_that_meets_everything_gives_nothing_up(
    make_settings: Callable[..., Settings], client: Any, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(writer={"tries": 2})
    real = rows_from_candles
    tried: list[int] = []

    def refuse(items: list[Candle]) -> Any:
        tried.append(len(items))
        raise ZeroDivisionError("a library that was replaced under us")

    monkeypatch.setattr(consumer.storage.candle_store, "rows_from_candles", refuse)
    publish(client, keys, candles(3))
    with writing(settings, speed=200):
        wait_until(lambda: len(tried) > 30)
        assert pending(client, keys) == 3
        assert client.xlen(keys.dead_letters(Market.USDT_FUTURES)) == 0
        monkeypatch.setattr(consumer.storage.candle_store, "rows_from_candles", real)
        wait_until(lambda: stored(settings) == [0, 1, 2] and pending(client, keys) == 0)


POISONED = """
import os, sys
import consumer.storage.candle_store
from candlewick.cli.main import main
real = consumer.storage.candle_store.rows_from_candles
def merge(items):
    if any(item.close == "666" for item in items):
        os._exit(139)
    return real(items)
consumer.storage.candle_store.rows_from_candles = merge
sys.argv = ["candlewick", "write", "--log-level", "WARNING"]
main()
"""


def lives_of_a_broken_writer(settings: Settings, client: Any, keys: Keys, script: str, most: int) -> list[int]:
    """Start a writer again and again until it does not end by itself; a candle comes before each start. Exit codes."""
    environment = environment_of(settings) | {"CANDLEWICK_WRITER_TRIES": "2"}
    codes: list[int] = []
    for life in range(most):
        publish(client, keys, candles(1, ETH, first=life))
        process = subprocess.Popen([sys.executable, "-P", "-c", script], env=os.environ | environment)
        try:
            wait_until(lambda process=process: process.poll() is not None or pending(client, keys) == 0)  # type: ignore[misc]
            wait_until(
                lambda process=process, life=life: process.poll() is not None or stored(settings, ETH)[-1:] == [life]  # type: ignore[misc]
            )
        finally:
            process.terminate()
            codes.append(process.wait(15))
        if codes[-1] == 0:
            break
    return codes


def test_an_entry_that_ends_the_writer_again_and_again_goes_to_the_dead_letters_and_nothing_else_does(
    make_settings: Callable[..., Settings], client: Any, keys: Keys
) -> None:
    settings = make_settings()
    publish(client, keys, [*candles(3), make_candle(open_time_ms=JUNE_30 + 3 * MINUTE, close="666")])
    codes = lives_of_a_broken_writer(settings, client, keys, POISONED, 20)
    assert codes == [139] * 6 + [0], "twice as all others, twice alone, twice more though others can be stored"
    assert stored(settings) == [0, 1, 2]
    assert stored(settings, ETH) == list(range(7))
    (letter,) = dead_letters(client, keys, Market.USDT_FUTURES)
    assert letter.reason == "the writer ended each time that it was to be written alone"
    assert not client.exists(keys.crash_count(letter.consumer))


def test_an_internal_error_that_ends_the_process_at_everything_gives_nothing_up_and_all_is_stored_when_it_is_mended(
    make_settings: Callable[..., Settings], client: Any, keys: Keys
) -> None:
    """As with a library that was replaced, or a disk that hangs until somebody kills the writer."""
    settings = make_settings()
    publish(client, keys, candles(2))
    broken = POISONED.replace('item.close == "666"', "True")
    assert lives_of_a_broken_writer(settings, client, keys, broken, 9) == [139] * 9
    assert client.xlen(keys.dead_letters(Market.USDT_FUTURES)) == 0
    publish(client, keys, candles(1, ETH, first=9))
    with writing(settings):
        wait_until(lambda: stored(settings) == [0, 1] and stored(settings, ETH) == list(range(10)))
        wait_until(lambda: pending(client, keys) == 0)
    assert client.xlen(keys.dead_letters(Market.USDT_FUTURES)) == 0


def test_an_entry_that_the_disk_refuses_is_no_dead_letter_however_often_somebody_kills_the_writer(
    make_settings: Callable[..., Settings], client: Any, keys: Keys
) -> None:
    settings = make_settings()
    obstacle = settings.candles_folder / series_folder(BTC)
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("stands for a disk that is full")
    publish(client, keys, candles(1))
    environment = environment_of(settings) | {"CANDLEWICK_WRITER_TRIES": "1"}
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "candlewick", "write", "--log-level", "WARNING"],
            env=os.environ | environment,
            stderr=subprocess.PIPE,
        )
        with process:
            assert process.stderr is not None
            said = process.stderr.readline()
            process.kill()
        assert b"1 series stay pending" in said
    obstacle.unlink()
    with writing(settings):
        wait_until(lambda: stored(settings) == [0])
