"""Logging for every process: one line an event, with the process's name, to standard error."""

import logging
import sys
import time
from typing import Any

import orjson

from shared.text import printable, without_passwords


def configure_logging(process: str, level: str = "INFO", form: str = "text") -> None:
    """Send log lines of a level and above to standard error: as text by ``log_format``, or each as ``json``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(process) if form == "json" else log_format(process, on_terminal=sys.stderr.isatty()))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("websockets", "aiohttp.access", "asyncio", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def log_format(process: str, *, on_terminal: bool) -> logging.Formatter:
    """How a line looks: ``2026-01-01T00:00:00.000Z spot INFO message``, and ``00:00:00 spot: message`` on a terminal.

    There a candle's line fits into 80 columns; what is more than information shows its level.
    """
    formatter = (
        _ForTerminal(process)
        if on_terminal
        else _Safe(f"%(asctime)s.%(msecs)03dZ {process:<12} %(levelname)-7s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S")
    )
    formatter.converter = time.gmtime
    return formatter


class _Safe(logging.Formatter):
    """One line a message. Words from outside may hold what moves a cursor, a line like ours, a password."""

    def format(self, record: logging.LogRecord) -> str:
        record.msg, record.args = printable(record.getMessage(), None), None
        shown = without_passwords(super().format(record))  # a traceback has words from outside, too
        return "".join(part if part.isprintable() or part == "\n" else "?" for part in shown)


class _ForTerminal(_Safe):
    def __init__(self, process: str) -> None:
        super().__init__(f"%(asctime)s {process}: %(shown_level)s%(message)s", datefmt="%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        record.shown_level = f"{record.levelname} " if record.levelno > logging.INFO else ""
        return super().format(record)


class _Json(_Safe):
    """A JSON object a line: ``time``, ``process``, ``level``, ``event``, ``message`` and, of an exception, ``error``.

    ``event`` is the message without its values, such as ``Record %s at %s``: the same for all that happens alike.
    """

    converter = staticmethod(time.gmtime)

    def __init__(self, process: str) -> None:
        super().__init__("%(message)s")
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        event = printable(without_passwords(str(record.msg)), None)  # before its values are put in
        message, *error = super().format(record).split("\n", maxsplit=1)
        moment = f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{int(record.msecs):03}Z"
        shown: dict[str, Any] = {"time": moment, "process": self._process, "level": record.levelname}
        shown |= {"event": event, "message": message} | ({"error": error[0]} if error else {})
        return orjson.dumps(shown).decode()
