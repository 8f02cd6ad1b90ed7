"""How a log line looks, in a file and on a terminal."""

import json
import logging
import subprocess
import sys

import pytest

from shared.process.logs import log_format

CANDLE = "Record usdt_futures BTCUSDT-1m at 2026-11-27 09:50:00+00:00"


def line(level: int, *, on_terminal: bool) -> str:
    record = logging.LogRecord("x", level, "", 0, CANDLE, (), None)
    record.created, record.msecs = 1_795_773_000.25, 250.0
    return log_format("writer", on_terminal=on_terminal).format(record)


@pytest.mark.parametrize(("level", "shown"), [(logging.INFO, ""), (logging.WARNING, "WARNING ")])
def test_on_a_terminal_a_candle_s_line_fits_and_a_level_shows_where_it_matters(level: int, shown: str) -> None:
    assert line(level, on_terminal=True) == f"09:50:00 writer: {shown}{CANDLE}"
    assert len(line(logging.INFO, on_terminal=True)) <= 80


def test_elsewhere_a_line_has_its_day_and_milliseconds_in_utc() -> None:
    assert line(logging.INFO, on_terminal=False) == f"2026-11-27T09:50:00.250Z writer       INFO    {CANDLE}"


@pytest.mark.parametrize("on_terminal", [True, False])
def test_words_from_outside_move_no_cursor_and_forge_no_line(on_terminal: bool) -> None:
    record = logging.LogRecord(
        "x", logging.WARNING, "", 0, "refused: %s", ("\x1b[2J\r\nup INFO all is well\u202e",), None
    )
    line = log_format("spot", on_terminal=on_terminal).format(record)
    assert line.endswith("refused: ?[2J??up INFO all is well?")
    assert line.isprintable()


def test_as_json_each_line_is_an_object_whose_event_is_the_same_for_what_happens_alike() -> None:
    code = """
import logging
from shared.process.logs import configure_logging
configure_logging("spot", "INFO", "json")
log = logging.getLogger("x")
log.info("%d of %s", 7, "币安\\x1b\\n")
try:
    raise OSError("redis://user:secret@host refuses")
except OSError:
    log.exception("an internal error")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = map(json.loads, done.stderr.splitlines())
    assert first.pop("time").endswith("Z")
    assert first == {"process": "spot", "level": "INFO", "event": "%d of %s", "message": "7 of 币安??"}
    assert (second["event"], second["message"]) == ("an internal error", "an internal error")
    assert second["error"].startswith("Traceback (most recent call last):\n")
    assert "secret" not in done.stderr
