"""``candlewick demo``: record from a simulated exchange for a while, then show what was recorded.

The exchange and ``candlewick up`` run as processes of their own, which end with this one however it ends.
"""

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from candlewick.cli import options
from candlewick.up.child import COMMAND, start_supervised
from shared.market import Market
from shared.process.stopping import stop_signals
from shared.settings.load import given_store, load_settings
from shared.settings.sections import DashboardSettings
from shared.text import counted
from simulator import ADDRESS_LINE
from simulator.command import parse_speed

_FLUSH_SECONDS = "10"  # to an object store: who records for a minute does not wait for a quarter of an hour


def run_demo(data: Path, speed: str, seconds: float | None, config: Path | None) -> int:
    """Record from a simulated exchange into a folder of its own, then print what is there, read back from Parquet.

    ``data`` may be an object store's URL: candles go there then, and all else into a folder below demo-data. The
    settings' own broker and data folder are left alone: what is simulated never mixes with what was recorded. The exit
    code is 0 when candles of every recorded market are stored.
    """
    parse_speed(speed)
    name, store = f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}", given_store(data)["store"]
    folder = (options.DEMO_DATA if store else data) / name
    place = f"{store.rstrip('/')}/{name}" if store else str(folder)
    simulate = ["simulate", "--port", "0", "--speed", speed, "--log-level", "WARNING"]
    with _supervised([*COMMAND, *simulate], stdout=subprocess.PIPE) as simulator:
        assert simulator.stdout is not None  # noqa: S101 # it is a pipe
        line = simulator.stdout.readline().decode()
        if not line.startswith(ADDRESS_LINE):
            return simulator.wait() or 1
        address = line.removeprefix(ADDRESS_LINE).strip()
        until = f"for {seconds:g} s (Ctrl-C ends it earlier)" if seconds else "until Ctrl-C"
        page = _page(config)
        print(f"Watch it: {page.address}")
        print(f"Recording from a simulated exchange at {address}, {speed} times as fast as time, into {place}/ {until}")
        sys.stdout.flush()
        flags = ["--data", place, "--broker", "", "--simulator", address, "--dashboard"]
        flags += ["--config", str(config)] if config else []
        flags += ["--seconds", str(seconds)] if seconds else []
        variables = {"CANDLEWICK_DASHBOARD_HOST": page.host, "CANDLEWICK_DASHBOARD_PORT": str(page.port)}
        if store:
            variables |= {"CANDLEWICK_DATA_FOLDER": str(folder), "CANDLEWICK_DATA_STORE_FLUSH_SECONDS": _FLUSH_SECONDS}
        with _supervised([*COMMAND, "up", *flags], variables) as recording:
            code = _passing_signals_to(recording)
    return code or _show(place, config)


@contextlib.contextmanager
def _supervised(
    command: Sequence[str], environment: Mapping[str, str] | None = None, stdout: int | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that ends with us, however we end."""
    with start_supervised(command, environment or {}, stdout) as process:
        try:
            yield process
        finally:
            process.terminate()


def _page(config: Path | None) -> DashboardSettings:
    """Where the dashboard will be: at the settings' port, or at another one where that is taken."""
    page = load_settings(config).dashboard
    for port in (page.port, 0):
        with contextlib.suppress(OSError), socket.create_server((page.host, port)) as tried:
            return page.model_copy(update={"port": tried.getsockname()[1]})
    return page


def _passing_signals_to(process: "subprocess.Popen[bytes]") -> int:
    """Wait for a process; signals that would stop us stop it instead. Its exit code."""

    def pass_on(number: int, _frame: object) -> None:
        process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in stop_signals()}
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show(place: str, config: Path | None) -> int:
    from candlewick.cli.columns import terminal_columns
    from candlewick.cli.tables import render
    from consumer.dataset.dataset import Dataset
    from consumer.dataset.figures import series_figures
    from consumer.storage.layout import CANDLES, series_folder
    from consumer.storage.table import to_arrow

    settings = load_settings(config, {"data": given_store(place)})
    dataset = Dataset.of(settings)
    overview = [series_figures(dataset, series) for series in dataset.series()]
    root = f"{settings.data.store}/{CANDLES}" if settings.data.store else str(settings.candles_folder)
    print(f"\nRecorded in {root}:")
    for figures in overview:
        stored = f"{counted(figures.rows, 'candle')} in {counted(figures.files, 'file')}, {figures.size:,} bytes"
        print(f"\n{figures.series}: {stored}; at its end:")
        table = to_arrow(dataset.last_rows(figures.series, 2), figures.series.interval)
        print("\n".join(render([table], terminal_columns(), names_hidden=False)))
    wanted = {market for market in Market if settings.groups(market)}
    missing = wanted - {figures.series.market for figures in overview if figures.rows}
    if missing:
        print(f"\nNo candle of {', '.join(sorted(missing))} was recorded: record for longer or faster.")
        return 1
    print(f"\n{counted(sum(figures.rows for figures in overview), 'candle')} of {len(overview)} series. In Python:")
    print(f'  pandas.read_parquet("{root}/{series_folder(overview[0].series)}")')
    return 0
