"""The kit of tests that every kind of storage must pass.

A kind's test module has a class that inherits ``StorageTests`` and gives a fixture ``storage`` with an empty one.
"""

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer.storage.interface import NO_VERSION, Change, Storage, Version
from shared.errors import StoreError, VersionChangedError

FOLDER = "candles/market=spot/interval=1m/symbol=币安人生USDT"
KEY, OTHER = f"{FOLDER}/2024-06-30.parquet", f"{FOLDER}/2024-07-01.parquet"
ELSEWHERE = "ledger/market=spot/interval=1m/symbol=BTCUSDT.json"

NOTHING = b"content that holds nothing"

KEYS = st.sampled_from([KEY, OTHER, ELSEWHERE])


def put(storage: Storage, key: str, content: bytes) -> Version:
    """Store content whatever is there; its version."""
    (result,) = storage.replace([[Change(key, storage.version(key), content)]])
    assert not isinstance(result, StoreError), result
    return result[0]


def content_of(storage: Storage, key: str) -> bytes | None:
    """What lies under a key, if anything does."""
    found = storage.read(key)
    return None if found is None else found.content


class StorageTests:
    """What ``consumer.storage.interface.Storage`` promises."""

    def test_where_nothing_is_there_is_no_version_no_content_and_no_name(self, storage: Storage) -> None:
        assert storage.version(KEY) is NO_VERSION
        assert storage.read(KEY) is None
        assert storage.list_folder("candles") == storage.list_folder(FOLDER)
        assert not storage.list_folder("candles").folders
        with pytest.raises(FileNotFoundError):
            storage.open(KEY)
        assert storage.damaged() == []

    def test_what_was_stored_is_read_back_with_the_version_that_was_told(self, storage: Storage) -> None:
        content = bytes(range(256)) * 1000
        version = put(storage, KEY, content)
        assert storage.read(KEY) == (content, version)
        assert storage.version(KEY) == version
        with storage.open(KEY) as file:
            file.seek(256)
            assert file.read(3) == b"\x00\x01\x02"

    def test_names_are_listed_one_level_at_a_time_with_sizes(self, storage: Storage) -> None:
        put(storage, KEY, b"12345")
        put(storage, OTHER, b"")
        put(storage, ELSEWHERE, b"x")
        assert storage.list_folder(FOLDER) == ([], {"2024-06-30.parquet": 5, "2024-07-01.parquet": 0})
        assert list(storage.list_folder("candles/market=spot").folders) == ["interval=1m"]
        assert storage.list_folder("candles/market=spot").files == {}
        assert storage.list_folder("ledger/market=spot/interval=1m").files == {"symbol=BTCUSDT.json": 1}

    def test_a_replacement_has_another_version_and_the_old_one_does_not_hold_any_more(self, storage: Storage) -> None:
        old = put(storage, KEY, b"old")
        new = put(storage, KEY, b"new")
        assert new != old
        (result,) = storage.replace([[Change(KEY, old, b"late")]])
        assert isinstance(result, VersionChangedError)
        assert content_of(storage, KEY) == b"new"

    def test_what_is_new_must_not_be_there_already(self, storage: Storage) -> None:
        put(storage, KEY, b"first")
        (result,) = storage.replace([[Change(KEY, NO_VERSION, b"second")]])
        assert isinstance(result, VersionChangedError)
        assert content_of(storage, KEY) == b"first"

    def test_a_group_changes_all_of_its_keys_or_none(self, storage: Storage) -> None:
        version = put(storage, KEY, b"old")
        stale = [Change(KEY, version, b"new"), Change(OTHER, version, b"never there")]
        (result,) = storage.replace([stale])
        assert isinstance(result, VersionChangedError)
        assert (content_of(storage, KEY), content_of(storage, OTHER)) == (b"old", None)

    def test_a_condition_holds_a_group_back_and_changes_nothing_itself(self, storage: Storage) -> None:
        (result,) = storage.replace([[Change(OTHER, NO_VERSION), Change(KEY, NO_VERSION, b"new")]])
        assert not isinstance(result, StoreError)
        assert result == [NO_VERSION, storage.version(KEY)]
        put(storage, OTHER, b"there now")
        held_back = [Change(OTHER, NO_VERSION), Change(KEY, storage.version(KEY), b"newer")]
        (refused,) = storage.replace([held_back])
        assert isinstance(refused, VersionChangedError)
        assert (content_of(storage, KEY), content_of(storage, OTHER)) == (b"new", b"there now")

    def test_what_is_only_confirmed_keeps_its_version(self, storage: Storage) -> None:
        version = put(storage, KEY, b"content")
        assert storage.replace([[Change(KEY, version)]]) == [[version]]
        assert storage.read(KEY) == (b"content", version)

    def test_each_group_fails_or_succeeds_by_itself(self, storage: Storage) -> None:
        put(storage, ELSEWHERE, b"first")
        good, bad = storage.replace([[Change(KEY, NO_VERSION, b"good")], [Change(ELSEWHERE, NO_VERSION, b"bad")]])
        assert good == [storage.version(KEY)]
        assert isinstance(bad, VersionChangedError)
        assert (content_of(storage, KEY), content_of(storage, ELSEWHERE)) == (b"good", b"first")
        assert storage.replace([]) == []

    def test_of_many_who_change_one_key_at_once_none_is_lost(self, storage: Storage) -> None:
        put(storage, KEY, b"0")

        def count_up() -> None:
            for _ in range(20):
                while True:
                    found = storage.read(KEY)
                    assert found is not None
                    change = Change(KEY, found.version, str(int(found.content) + 1).encode())
                    (result,) = storage.replace([[change]])
                    if not isinstance(result, StoreError):
                        break
                    assert isinstance(result, VersionChangedError)

        threads = [threading.Thread(target=count_up) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert content_of(storage, KEY) == b"100"

    def test_what_is_quarantined_is_gone_and_remembered_until_it_is_refilled(self, storage: Storage) -> None:
        version = storage.quarantine(KEY, put(storage, KEY, b"damaged"), "it is damaged", NOTHING)
        assert content_of(storage, KEY) in (None, NOTHING)
        assert storage.version(KEY) == version
        (damaged,) = storage.damaged()
        assert damaged.key == KEY
        put(storage, KEY, b"refilled")
        storage.refilled(damaged)
        assert storage.damaged() == []
        assert content_of(storage, KEY) == b"refilled"

    def test_what_somebody_has_mended_meanwhile_is_not_quarantined(self, storage: Storage) -> None:
        old = put(storage, KEY, b"damaged")
        put(storage, KEY, b"mended")
        storage.quarantine(KEY, old, "it was damaged", NOTHING)
        assert content_of(storage, KEY) == b"mended"
        assert storage.damaged() == []

    def test_a_second_damage_is_remembered_beside_the_first(self, storage: Storage) -> None:
        for content in (b"first", b"second"):
            storage.quarantine(KEY, put(storage, KEY, content), "it is damaged", NOTHING)
        first, second = storage.damaged()
        assert first.key == second.key == KEY
        storage.refilled(first)
        assert storage.damaged() == [second]

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors])
    @given(
        st.lists(
            st.tuples(KEYS, st.one_of(st.none(), st.binary(max_size=9)), st.booleans(), st.booleans()), max_size=12
        )
    )
    def test_any_sequence_of_changes_is_that_of_a_dictionary(
        self, storage: Storage, steps: list[tuple[str, bytes | None, bool, bool]]
    ) -> None:
        for key in (KEY, OTHER, ELSEWHERE):
            put(storage, key, b"begin")
        stale = {key: storage.version(key) for key in (KEY, OTHER, ELSEWHERE)}
        truth = dict.fromkeys(stale, b"begin")
        for key, content, is_fresh, moves_on in steps:
            version = storage.version(key) if is_fresh else stale[key]
            holds = version == storage.version(key)
            (result,) = storage.replace([[Change(key, version, content)]])
            assert isinstance(result, VersionChangedError) is not holds
            if holds and content is not None:
                truth[key] = content
            if moves_on:
                stale[key] = storage.version(key)
            assert {name: content_of(storage, name) for name in truth} == truth
