"""The command itself, run as a user runs it; whatever it started is gone when the test ends."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.broker.keys import Keys
from shared.settings.model import Settings
from tests.support.recorded import Recorded


@pytest.fixture(autouse=True)
def _sockets_in_a_folder_of_their_own(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded broker's socket goes into the user's state folder when the test's own folder is too long for it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(short_tmp))


@pytest.fixture
def recorded(make_settings: Callable[..., Settings], client: Any, keys: Keys) -> Iterator[Recorded]:
    """A recording of the test's own: a data folder and a stream."""
    recorded = Recorded(make_settings(), client, keys)
    yield recorded
    recorded.close()
