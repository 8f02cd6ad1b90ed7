"""A whole market that is recorded from the simulated exchange, for as long as a block lasts."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

COMMAND = [sys.executable, "-P", "-m", "candlewick"]


@contextmanager
def recorded_market(symbols: int, speed: float, **variables: str) -> "Iterator[tuple[subprocess.Popen[bytes], Path]]":
    """Record ``"*"`` of so many spot symbols at 1m, so many times as fast as time; ``up`` and its data folder."""
    folder = Path(tempfile.mkdtemp(prefix="cw-", dir=Path.cwd()))
    record = json.dumps([{"market": "spot", "symbols": ["*"], "intervals": ["1m"]}])
    environment = os.environ | {"CANDLEWICK_RECORD": record, "CANDLEWICK_LOG_LEVEL": "ERROR"} | variables
    listed = "spot:" + ",".join(f"S{number}USDT" for number in range(symbols))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        simulator = subprocess.Popen(
            [*COMMAND, "simulate", "--port", "0", "--speed", str(speed), "--symbols", listed, "--log-level", "ERROR"],
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(_end, simulator)
        assert simulator.stdout is not None  # noqa: S101 # it is a pipe
        address = simulator.stdout.readline().rpartition(" ")[2].strip()
        flags = ["--simulator", address, "--data", str(folder / "data")]
        up = subprocess.Popen([*COMMAND, "up", *flags], env=environment)
        stack.callback(_end, up)
        yield up, folder / "data"


def _end(process: "subprocess.Popen[bytes] | subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGTERM)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
