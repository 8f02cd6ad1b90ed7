"""Who may read what is stored."""

import shutil
import stat
from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.settings.load import load_settings
from tests.support.candles import BTC, make_candle
from tests.support.commands import Run
from tests.support.stores import DataFolder


@pytest.mark.parametrize(("umask", "mode"), [("027", 0o750), ("077", 0o700)])
def test_the_setting_decides_who_reads_what_a_command_writes(
    umask: str, mode: int, candlewick: Run, tmp_path: Path
) -> None:
    store = DataFolder(tmp_path / "data")
    store.write(BTC, [make_candle()])
    store.close()
    shutil.rmtree(tmp_path / "data" / "staging")
    done = candlewick("compact", CANDLEWICK_DATA_FILE_UMASK=umask)
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE((tmp_path / "data" / "staging" / "writer-1").stat().st_mode) == mode


@pytest.mark.parametrize("text", ["28", "0o27", "700", "rwx", "0277"])
def test_a_umask_that_is_none_or_shuts_its_user_out_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="three octal digits"):
        load_settings(flags={"data": {"file_umask": text}})
