"""Sealed months in an object store: the same files and the same proof."""

import pytest

from candlewick.sealing.manifest import manifest_key
from candlewick.sealing.object_place import ObjectPlace
from candlewick.sealing.seal import Sealing
from consumer.dataset.dataset import Dataset
from consumer.storage.interface import Change
from consumer.storage.object_store import ObjectStorage
from shared.errors import StoreError
from tests.support.commands import Run
from tests.support.sealed import ALL, HOURS, MANIFEST, record
from tests.support.stores import DataFolder


def test_what_is_sealed_into_an_object_store_is_proved_there_and_what_is_changed_is_named(
    store: DataFolder, candlewick: Run, bucket: str
) -> None:
    for series in ALL:
        record(store, series)
    folder = candlewick("seal", "--month", "2024-06", "--data", store.root.parent)
    done = candlewick("seal", "--month", "2024-06", "--data", store.root.parent, "--into", bucket)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"{len(ALL)} files sealed in {bucket}"), done.stderr
    storage = ObjectStorage(bucket)
    for key in storage.keys(""):
        found = storage.read(key)
        assert found is not None
        assert found.content == (store.root.parent / "sealed" / key).read_bytes(), folder.stdout
    assert candlewick("verify", bucket).stdout.endswith("all as sealed\n")
    again = candlewick("seal", "--month", "2024-06", "--data", store.root.parent, "--into", bucket)
    assert again.stdout == f"0 files sealed in {bucket}, {len(ALL)} sealed before\n"

    key = next(key for key in storage.keys("candles") if "interval=1h" in key)
    found = storage.read(key)
    assert found is not None
    storage.replace([[Change(key, found.version, found.content[:-9] + b"X" + found.content[-8:])]])
    proof = candlewick("verify", bucket)
    assert proof.returncode == 1
    assert proof.stdout.splitlines()[0] == key


def test_of_two_who_seal_at_once_one_is_refused_and_nothing_is_lost(store: DataFolder, bucket: str) -> None:
    record(store, HOURS)
    dataset = Dataset(store.local)
    one, other = ObjectPlace(bucket), ObjectPlace(bucket)
    assert one.get(manifest_key("2024-06")) is None
    Sealing(dataset, other, "candlewick").seal("2024-06", [HOURS])
    with pytest.raises(StoreError, match="another candlewick seal is at work"):
        one.put([(MANIFEST, b"{}")])
    assert len(ObjectStorage(bucket).keys("candles")) == 1


def test_a_place_that_holds_a_recording_is_refused(store: DataFolder, candlewick: Run, bucket: str) -> None:
    record(store, HOURS)
    record_there = Dataset(store.local).partitions(HOURS)[0]
    content = store.local.read(record_there.key)
    assert content is not None
    ObjectStorage(bucket).replace([[Change(record_there.key, None, content.content)]])
    refused = candlewick("seal", "--data", store.root.parent, "--into", bucket)
    assert refused.returncode == 2
    assert refused.stderr == f"candlewick: {bucket} holds something else: seal into a place of its own\n"
