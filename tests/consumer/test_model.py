"""Whatever happens in whatever order, nothing acknowledged is lost and nothing is doubled.

A hypothesis state machine publishes candles, notes and malformed entries to a real Valkey and lets up to three real
writers work on one data folder, or one object store, each one step at a time. They are killed, cut off from the broker
or the store, stopped and overtaken at points in the middle of an operation (tests/support/interruption.py); months are
joined beside them; streams are trimmed, the group deleted, the broker killed; the exchange's clock jumps. After every
step the broker and the store are compared with what was published (tests/support/books.py). In the end one fresh writer
has to bring everything there.

By default the same few sequences are tried each time. To search for longer, at random::

    pytest tests/consumer/test_model.py --hypothesis-profile=search

which takes an hour or so; ``--hypothesis-seed=N`` tries one search again. A failure is printed as the calls that
lead to it, shortened.
"""

import itertools
import logging
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import Phase
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import run_state_machine_as_test
from obstore.store import MemoryStore

import consumer.writer
from consumer.group.dead_letters import dead_letters
from consumer.storage import object_store
from shared.settings.model import Settings
from tests.support.interruption import overtaken
from tests.support.recording import MALFORMED, SERIES, Recording
from tests.support.scene import Clock
from tests.support.servers import RealServer
from tests.support.shelves import FolderShelf, ObjectShelf

IS_SEARCH = hypothesis_settings.get_current_profile_name() == "search"


@pytest.fixture
def clock() -> Clock:
    """The clock of all writers of the test."""
    return Clock()


@pytest.fixture(params=["folder", "objects"])
def make_recording(
    request: pytest.FixtureRequest,
    make_server: Callable[..., RealServer],
    make_settings: Callable[..., Settings],
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[], Recording]:
    """Each recording has a prefix and a store of its own; they share one broker.

    Everything that is small or short elsewhere is smaller here, so that a few entries reach every bound: three entries
    are a node of the stream (what is trimmed), ten a batch; nothing is kept for a while, nothing waited for.
    """
    server = make_server(
        stream_node_max_entries="3", appendfsync="no"
    )  # it writes before it answers: enough for a kill
    numbers, in_objects = itertools.count(), request.param == "objects"
    stores = defaultdict[str, MemoryStore](MemoryStore)  # one thing happens at a time: no other process is needed
    monkeypatch.setattr(object_store, "from_url", lambda url, **_: stores[url])
    monkeypatch.setattr(object_store, "_REQUESTS_AT_ONCE", 1)
    monkeypatch.setattr(consumer.writer, "_STORE_THREADS", 1)

    def make() -> Recording:
        number = next(numbers)
        settings = make_settings(
            broker={"url": server.url, "prefix": f"model-{number}", "retention_days": 1e-9},
            data={"folder": tmp_path / f"data-{number}"} | ({"store": f"s3://{number}"} if in_objects else {}),
            writer={"batch_candles": 10, "threads": 1, "lock_timeout_seconds": 0.01},
        )
        return Recording(server, settings, clock, (ObjectShelf if in_objects else FolderShelf)(settings))

    return make


@pytest.mark.timeout(0 if IS_SEARCH else 600)  # a failure is made as short as it can be, which takes minutes
def test_whatever_happens_what_is_acknowledged_is_on_disk_once_and_the_rest_waits(
    make_recording: Callable[[], Recording], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "consumer")  # what is logged of so many faults would fill the memory
    profile = hypothesis_settings.default
    assert profile is not None
    run_state_machine_as_test(  # type: ignore[no-untyped-call,unused-ignore]
        make_recording,  # type: ignore[arg-type] # a function will do, says its documentation
        settings=hypothesis_settings(
            profile,
            max_examples=profile.max_examples // 4,
            stateful_step_count=40,
            phases=(Phase.generate, Phase.shrink),
        ),
    )


def test_a_malformed_entry_is_buried_once_also_when_the_writer_that_read_it_was_overtaken(
    make_recording: Callable[[], Recording],
) -> None:
    recording = make_recording()
    try:
        market = SERIES[0].market
        recording.a_malformed_entry_comes(market, MALFORMED[0])
        writer, other = recording._writer(0), recording._writer(1)
        overtaken(3, lambda: writer.reader.read(10, 1), lambda: other.reader.claim(0, 10))
        assert len(list(dead_letters(recording.client, recording.keys, market))) == 1
    finally:
        recording.teardown()
