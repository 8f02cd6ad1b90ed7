"""What an object store does to whoever writes to it: faults, lost answers, others who are faster; nothing is lost."""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest

from chaos.s3 import S3
from consumer.dataset.compact import compact
from consumer.dataset.dataset import Dataset
from consumer.storage.candle_store import CandleStore
from consumer.storage.codec import encode
from consumer.storage.interface import NO_VERSION, Change
from consumer.storage.layout import candles_key
from consumer.storage.metadata import MetadataStore
from consumer.storage.object_store import ObjectStorage
from consumer.storage.table import EMPTY
from shared.errors import StoreError, UnfitStoreError
from shared.interval import DAY_MS, MINUTE_MS
from shared.series_fact import FactKind, SeriesFact
from shared.settings.load import load_settings
from tests.support.candles import BTC, JUNE_30, make_candle
from tests.support.commands import Run

FAULTS: tuple[int | str, ...] = (500, 503, 409, 412, "lost", "slow")

CHANGES = ("PUT", "DELETE")


@pytest.fixture
def faults(s3: S3, bucket: str) -> Iterator[Callable[..., None]]:
    """Let faults happen, drawn from a seed."""

    def begin(seed: int, share: float, kinds: tuple[int | str, ...] = FAULTS) -> None:
        rng = random.Random(seed)

        def meet(method: str, _: str) -> int | str | None:
            return rng.choice(kinds) if method in CHANGES and rng.random() < share else None

        s3.faults[urlsplit(bucket).netloc] = meet

    yield begin
    s3.faults.clear()


def until_stored(store: CandleStore, candles: list[Any]) -> None:
    """As a writer does it: what is refused stays pending, and is tried again."""
    while True:
        (result,) = store.write_many([(BTC, candles)])
        if not isinstance(result, StoreError):
            return


@pytest.mark.parametrize("seed", range(2))
def test_writers_on_any_hosts_lose_and_double_nothing_whatever_the_store_answers(
    bucket: str, faults: Callable[..., None], seed: int
) -> None:
    faults(seed, 0.2, (*FAULTS[:-1],))

    def write(number: int) -> None:
        store = CandleStore(ObjectStorage(bucket), 2**20, quarantines=True)
        for minute in range(number, 60, 4):
            open_ms = JUNE_30 + DAY_MS - 30 * MINUTE_MS + minute * MINUTE_MS  # two partitions
            until_stored(store, [make_candle(BTC, open_ms), make_candle(BTC, open_ms - MINUTE_MS)])

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    times = Dataset(ObjectStorage(bucket)).rows(BTC).times.tolist()
    first = JUNE_30 + DAY_MS - 31 * MINUTE_MS
    assert times == [first + number * MINUTE_MS for number in range(61)]


def test_a_change_whose_answer_is_lost_was_made_and_is_found_when_it_is_tried_again(
    bucket: str, faults: Callable[..., None]
) -> None:
    store = CandleStore(ObjectStorage(bucket))
    faults(1, 1.0, ("lost",))
    threading.Timer(0.3, lambda: faults(1, 0.0)).start()
    until_stored(store, [make_candle(BTC, JUNE_30)])
    assert Dataset(ObjectStorage(bucket)).rows(BTC).times.tolist() == [JUNE_30]


def test_a_month_is_joined_beside_writers_and_no_row_is_lost_or_doubled(bucket: str) -> None:
    june, dataset = JUNE_30 - 29 * DAY_MS, Dataset(ObjectStorage(bucket))
    days = [june + day * DAY_MS for day in range(30)]
    writer = CandleStore(ObjectStorage(bucket), 2**20)
    for day_ms in days:
        writer.write(BTC, [make_candle(BTC, day_ms)])
    writer.write(BTC, [make_candle(BTC, JUNE_30 + 4 * DAY_MS)])
    done = threading.Event()

    def go_on() -> None:
        other, number = CandleStore(ObjectStorage(bucket), 2**20), 0
        while not done.is_set() or number < 60:
            number += 1
            until_stored(other, [make_candle(BTC, days[number % 30] + number * MINUTE_MS)])
        written.append(number)

    written: list[int] = []
    thread = threading.Thread(target=go_on)
    thread.start()
    while True:
        joined = compact(ObjectStorage(bucket), [BTC])
        assert joined.failures == []
        if joined.months == 0:
            break
    done.set()
    thread.join()
    compact(ObjectStorage(bucket), [BTC])
    names = [part.name for part in dataset.partitions(BTC)]
    assert names == ["2024-06.parquet", "2024-07-04.parquet"]
    expected = {*days, *(days[number % 30] + number * MINUTE_MS for number in range(1, written[0] + 1))}
    assert dataset.rows(BTC).times.tolist() == [*sorted(expected), JUNE_30 + 4 * DAY_MS]


def test_a_writer_that_knows_an_empty_partition_and_not_the_month_loses_nothing_to_a_joining(bucket: str) -> None:
    """A partition that was quarantined and never refilled is empty, and may be joined in the moment it is written."""
    storage, store = ObjectStorage(bucket), CandleStore(ObjectStorage(bucket))
    small = candles_key(BTC, "2024-06-30.parquet")
    store.write(BTC, [make_candle(BTC, JUNE_30 - DAY_MS), make_candle(BTC, JUNE_30 + 5 * DAY_MS)])
    storage.replace([[Change(small, NO_VERSION, encode(EMPTY, BTC.interval))]])

    class Joined(ObjectStorage):
        """Joins the month between the writer's looks and its write."""

        def _write(self, change: Change) -> Any:
            if change.key == small and not joined:
                joined.append(compact(ObjectStorage(bucket), [BTC]))
            return super()._write(change)

    joined: list[Any] = []
    CandleStore(Joined(bucket)).write(BTC, [make_candle(BTC, JUNE_30)])
    assert joined[0].months == 1
    times = [JUNE_30 - DAY_MS, JUNE_30, JUNE_30 + 5 * DAY_MS]
    assert Dataset(storage).rows(BTC).times.tolist() == times


def test_a_reader_that_listed_before_a_month_was_joined_sees_every_row(bucket: str) -> None:
    days = [JUNE_30 - 2 * DAY_MS, JUNE_30 - DAY_MS, JUNE_30]
    CandleStore(ObjectStorage(bucket)).write(BTC, [make_candle(BTC, day) for day in [*days, JUNE_30 + 5 * DAY_MS]])

    class Keeping(ObjectStorage):
        """Deletes nothing."""

        def remove(self, keys: Sequence[str]) -> None:
            del keys

    class Slow(ObjectStorage):
        """Is joined after it was listed, and before it is read; what is deleted then is still there, empty."""

        def read(self, key: str) -> Any:
            if not joined:
                joined.append(True)
                compact(Keeping(bucket), [BTC])
            return super().read(key)

    for look in (
        lambda dataset: dataset.rows(BTC, days[0], days[-1] + 1).times.tolist(),
        lambda dataset: dataset.last_rows(BTC, 3, days[0], days[-1] + 1).times.tolist(),
        lambda dataset: [time for rows in dataset.parts(BTC, days[0], days[-1] + 1) for time in rows.times.tolist()],
    ):
        joined: list[bool] = []
        assert look(Dataset(Slow(bucket))) == days
        for part in Dataset(ObjectStorage(bucket)).partitions(BTC):
            if part.name == "2024-06.parquet":
                ObjectStorage(bucket).remove([part.key])
        CandleStore(ObjectStorage(bucket)).write(BTC, [make_candle(BTC, day) for day in days])


def test_what_is_damaged_is_kept_aside_and_an_empty_partition_is_in_its_place(bucket: str) -> None:
    storage = ObjectStorage(bucket)
    key = candles_key(BTC, "2024-06-30.parquet")
    storage.replace([[Change(key, NO_VERSION, b"no Parquet")]])
    store = CandleStore(ObjectStorage(bucket), quarantines=True)
    store.write(BTC, [make_candle(BTC, JUNE_30)])
    assert Dataset(storage).rows(BTC).times.tolist() == [JUNE_30]
    (damaged,) = storage.damaged()
    assert damaged.key == key
    kept = storage.read(damaged.mark)
    assert kept is not None
    assert kept.content == b"no Parquet"
    storage.refilled(damaged)
    assert storage.damaged() == []


def test_facts_of_many_writers_are_merged(bucket: str) -> None:
    stores = [MetadataStore(ObjectStorage(bucket)) for _ in range(3)]
    threads = [
        threading.Thread(
            target=lambda store=store, number=number: store.write(
                BTC, [SeriesFact(BTC, FactKind.ABSENT, JUNE_30 + number * DAY_MS, JUNE_30 + (number + 1) * DAY_MS, 1)]
            )
        )
        for number, store in enumerate(stores)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [*stores[0].read(BTC).absent] == [(JUNE_30, JUNE_30 + 3 * DAY_MS)]


def test_a_store_that_cannot_be_had_is_one_line(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match=r"^s3://nobodys-bucket/x/candles[^\n]*NoSuchBucket") as error:
        ObjectStorage("s3://nobodys-bucket/x").list_folder("candles")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("store", ["http://x/y", "s3://", "s3://key:secret@bucket/x", "bucket", "s3://b?x=1"])
def test_a_url_that_is_none_of_a_store_is_refused_with_what_is_allowed(store: str) -> None:
    with pytest.raises(Exception, match="an object store is s3://BUCKET/PATH"):
        load_settings(flags={"data": {"store": store}})


class Careless(S3):
    """Ignores what a write says about what must be there."""

    def _answer(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        for name in ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"):
            environ.pop(name, None)
        return super()._answer(environ, start_response)


def test_a_store_that_ignores_the_conditions_of_a_write_is_refused(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ObjectStorage(bucket).check_root()
    assert ObjectStorage(bucket).list_folder("staging") == ([], {})
    with Careless().running() as careless:
        monkeypatch.setenv("AWS_ENDPOINT_URL", careless.address)
        with pytest.raises(UnfitStoreError, match="ignores the conditions of a write"):
            ObjectStorage(careless.new_bucket()).check_root()
    ObjectStorage("s3://nobodys/x").check_root()  # it does not answer: another time


def test_check_looks_at_the_store(bucket: str, candlewick: Run) -> None:
    def lines(store: str) -> str:
        return candlewick("check", "--simulator", "http://127.0.0.1:1", CANDLEWICK_DATA_STORE=store).stdout

    assert "and keeps the conditions of writes" in lines(bucket)
    assert "NoSuchBucket" in lines("s3://nobodys/x")
