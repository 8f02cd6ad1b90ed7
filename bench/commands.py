"""What a command costs that somebody types or a health check runs, beside a bare start of the interpreter.

The six series of ``candlewick up`` are being recorded meanwhile, with a day of history from the simulated exchange, so
that ``health`` and ``status`` find living processes and ``read`` a day of candles. All take turns; the best of each
counts. The floor is ``python -c pass``.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial

from bench.result import Line, Result, best_of
from bench.simulated import COMMAND, SIX_RECORD, SIX_SYMBOLS, recorded

_BARE = "python -c pass"
_ROUNDS = 9
_PATIENCE_SECONDS = 180
_READ = ("read", "usdt_futures", "BTCUSDT", "1m", "--format", "csv", "--tail")
_DAY_ROWS = 1440


def run() -> list[Line]:
    """Each command."""
    with recorded(SIX_SYMBOLS, record=SIX_RECORD, CANDLEWICK_HISTORY="1d") as recording:
        flags = ["--data", str(recording.data)]
        read_day = [*COMMAND, *_READ, str(_DAY_ROWS), *flags]
        _await_rows(read_day)
        commands: dict[str, Sequence[str]] = {
            _BARE: [sys.executable, "-P", "-c", "pass"],
            "--help": [*COMMAND, "--help"],
            "health of a producer": [*COMMAND, "health", "spot", *flags],
            "status": [*COMMAND, "status", *flags],
            "read: the last candle": [*COMMAND, *_READ, "1", *flags],
            "read: a day as CSV": read_day,
        }
        best = best_of(_ROUNDS, {name: partial(_milliseconds, words) for name, words in commands.items()})
    bare = best.pop(_BARE)
    return [Result(f"candlewick {name}", "ms", cost, bare) for name, cost in best.items()]


def _milliseconds(words: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(words, capture_output=True, check=True)
    return (time.perf_counter() - began) * 1000


def _await_rows(read: Sequence[str]) -> None:
    """Wait until a day and more is there to be read, and every process has told how it does."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until:
        time.sleep(5)
        found = subprocess.run(read, capture_output=True, check=False)  # until then it says that nothing is recorded
        if found.stdout.count(b"\n") > _DAY_ROWS:
            return
    raise TimeoutError(f"there is no day of history within {_PATIENCE_SECONDS} s")
