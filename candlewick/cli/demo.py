"""The simulated exchange from the command line, and the demonstration that records from it."""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from candlewick.cli.arguments import milliseconds, parse_market, parse_symbol, parse_time
from candlewick.up.child import COMMAND, SUPERVISED
from shared.errors import CandlewickError
from shared.market import Market
from shared.process.stopping import stop_signals
from shared.text import counted

log = logging.getLogger(__name__)

_ADDRESS_LINE = "simulated exchange at "


def parse_speed(text: str) -> float | None:
    """Simulated seconds a second; None for ``max``. CandlewickError for anything but a positive number."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= 1e6:  # noqa: PLR2004 # beyond it the clock's milliseconds are too coarse
        raise CandlewickError(f"speed {text!r} is neither a number above 0 nor max")
    return speed


def parse_symbols(texts: Sequence[str]) -> Mapping[Market, tuple[str, ...]]:
    """Listed symbols by market from ``MARKET:SYMBOL,SYMBOL``; markets that are not named list nothing."""
    found: dict[Market, tuple[str, ...]] = dict.fromkeys(Market, ())
    for text in texts:
        market, separator, names = text.partition(":")
        if not separator:
            raise CandlewickError(f"symbols {text!r} are not of the form MARKET:SYMBOL,SYMBOL")
        chosen = parse_market(market)
        found[chosen] += tuple(parse_symbol(name) for name in names.split(",") if name)
    return found


def parse_faults(texts: Sequence[str]) -> Mapping[str, float | str]:
    """Changes to the faults from ``NAME=VALUE``, or ``all``; whether each is allowed, ``Faults`` decides."""
    found: dict[str, float | str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator and name != "all":
            raise CandlewickError(f"fault {text!r} is not of the form NAME=VALUE, or all")
        try:
            found[name] = float(value) if separator else 1.0
        except ValueError:
            found[name] = value
    return found


def parse_listing(text: str) -> tuple[Market, str, int]:
    """Market, symbol and time in ms from ``MARKET:SYMBOL@TIME``."""
    market, colon, rest = text.partition(":")
    symbol, at, moment = rest.partition("@")
    time_ms = milliseconds(parse_time(moment or None, "listing time"))
    if not colon or not at or time_ms is None:
        raise CandlewickError(f"listing {text!r} is not of the form MARKET:SYMBOL@TIME")
    return parse_market(market), parse_symbol(symbol), time_ms


async def run_simulator(
    options: Mapping[str, Any],
    faults: Sequence[str],
    listed: Sequence[str],
    delisted: Sequence[str],
    *,
    exit_at_end: bool,
) -> None:
    """Serve until SIGTERM or Ctrl-C, or until the data ends if ``exit_at_end``.

    Args:
        options: of the simulator, but for those that follow.
        faults: each ``NAME=VALUE``, or ``all``.
        listed: each ``MARKET:SYMBOL@TIME``.
        delisted: the same.
        exit_at_end: whether to leave when there is nothing more to push.
    """
    try:
        from simulator.faults.model import Faults
        from simulator.market.listings import ListingChange
        from simulator.server.simulator import Simulator, SimulatorOptions
    except ModuleNotFoundError as error:
        raise CandlewickError(
            f"the simulated exchange needs {error.name}: pip install 'candlewick[simulator]'"
        ) from None
    changes = [ListingChange(*parse_listing(text), listed=True) for text in listed]
    changes += [ListingChange(*parse_listing(text), listed=False) for text in delisted]
    chosen = SimulatorOptions(**options, faults=Faults().changed(parse_faults(faults)), listings=changes)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Simulator(chosen) as simulator:
        print(f"{_ADDRESS_LINE}{simulator.address}", flush=True)
        waits = [asyncio.create_task(stop.wait())]
        if exit_at_end:
            waits.append(asyncio.create_task(simulator.feed.ended.wait()))
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not stop.is_set():
            await asyncio.sleep(1)  # what was pushed last is still on its way
        log.info("%d candles closed, %d connections accepted", simulator.feed.closed, simulator.accepted)


def run_demo(data: Path, speed: str, seconds: float | None, config: Path | None) -> int:
    """Record from a simulated exchange into a folder of its own, then print what is there, read back from Parquet.

    The settings' own broker and data folder are left alone: what is simulated never mixes with what was recorded.

    Returns:
        An exit code: 0 when candles of every recorded market are on disk.
    """
    parse_speed(speed)
    data = data / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}"
    simulate = ["simulate", "--port", "0", "--speed", speed, "--log-level", "WARNING"]
    with _supervised([*COMMAND, *simulate], stdout=subprocess.PIPE) as simulator:
        assert simulator.stdout is not None  # noqa: S101 # it is a pipe
        line = simulator.stdout.readline().decode()
        if not line.startswith(_ADDRESS_LINE):
            return simulator.wait() or 1
        address = line.removeprefix(_ADDRESS_LINE).strip()
        print(
            f"Recording from a simulated exchange at {address}, {speed} times as fast as time, into {data}/ "
            + (f"for {seconds:g} s (Ctrl-C ends it earlier)" if seconds else "until Ctrl-C"),
            flush=True,
        )
        flags = ["--data", str(data), "--broker", "", "--simulator", address]
        flags += ["--config", str(config)] if config else []
        flags += ["--seconds", str(seconds)] if seconds else []
        with _supervised([*COMMAND, "up", *flags]) as recording:
            code = _passing_signals_to(recording)
    return code or _show(data, config)


@contextlib.contextmanager
def _supervised(command: Sequence[str], **options: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """A process in a session of its own that ends with us, however we end."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, start_new_session=True, env=os.environ | {SUPERVISED: "1"}, **options
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()


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


def _show(data: Path, config: Path | None) -> int:
    import pandas as pd

    from consumer.dataset.figures import store_overview
    from consumer.dataset.read import read_frame
    from consumer.storage.layout import series_folder
    from shared.settings.load import load_settings

    settings = load_settings(config, {"data": {"folder": data}})
    overview = store_overview(settings.candles_folder)
    print(f"\nRecorded in {settings.candles_folder}:")
    for one in overview:
        frame = read_frame(settings.candles_folder, one.series, None, None)
        held = f"{counted(one.rows, 'candle')} in {counted(one.files, 'file')}, {one.size:,} bytes"
        print(f"\n{one.series}: {held}; at its end:")
        with pd.option_context("display.width", None, "display.max_columns", None):
            print(frame[["candle_begin_time", "open", "high", "low", "close", "volume"]].tail(2).to_string())
    wanted = {market for market in Market if settings.groups(market)}
    missing = wanted - {one.series.market for one in overview if one.rows}
    if missing:
        print(f"\nNo candle of {', '.join(sorted(missing))} was recorded: record for longer or faster.")
        return 1
    print(f"\n{counted(sum(one.rows for one in overview), 'candle')} of {len(overview)} series. In Python:")
    print(f'  pandas.read_parquet("{settings.candles_folder / series_folder(overview[0].series)}")')
    return 0
