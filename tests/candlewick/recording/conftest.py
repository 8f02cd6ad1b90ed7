"""A recording of the test's own: a data folder, a stream, and what reads both."""

from collections.abc import Iterator

import pytest

from candlewick.recording.recording import Recording
from tests.support.recorded import Recorded


@pytest.fixture
def recording(recorded: Recorded) -> Iterator[Recording]:
    with Recording(recorded.settings) as recording:
        yield recording


@pytest.fixture
def environment(recorded: Recorded) -> dict[str, str]:
    """Where a command finds the test's recording."""
    broker = recorded.settings.broker
    return {
        "CANDLEWICK_BROKER_URL": broker.url,
        "CANDLEWICK_BROKER_PREFIX": broker.prefix,
        "CANDLEWICK_DATA_FOLDER": str(recorded.settings.data.folder),
    }
