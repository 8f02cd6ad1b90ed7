"""The command itself, run as a user runs it; whatever it started is gone when the test ends."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _sockets_in_a_folder_of_their_own(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded broker's socket goes into the user's state folder when the test's own folder is too long for it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(short_tmp))
