"""The command ``replay``: what was recorded, once more, into whatever takes it."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candlewick.cli import options
from shared.errors import CandlewickError, SettingsError
from shared.text import counted
from simulator.command import parse_speed

if TYPE_CHECKING:
    from candlewick.recording.recording import Recording
    from candlewick.recording.replay import Replay

_KINDS = "parquet:DIR, stream:PREFIX, stdout or ws:PORT"


def replay(
    market: options.MarketOrAll = None,
    symbols: options.SymbolPatterns = None,
    into: Annotated[
        str | None,
        typer.Option("--into", help=f"Where to: {_KINDS}; a folder alone is a parquet one.", metavar="TARGET"),
    ] = None,
    interval: options.OnlyInterval = None,
    start: options.From = None,
    end: options.To = None,
    speed: Annotated[
        str, typer.Option(help="Seconds of the past a second, or max. Space, or SIGUSR1, pauses and goes on.")
    ] = "max",
    wait_for: Annotated[int, typer.Option(help="With ws: begin when so many channels are subscribed.", min=0)] = 1,
    group: Annotated[
        str | None,
        typer.Option(help="Let this consumer group read once more what was received since --from.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --group: say what would be read again.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --group: do not ask.")] = False,
    config: options.Config = None,
    data: options.Data = None,
    broker: options.Broker = None,
) -> None:
    """Hand out what was recorded once more: into a new store, streams, standard output, or to Binance clients.

    Candles come in one order of close times, at their own pace or faster. Gaps are announced.
    """
    options.check_range(start, end)
    if (into is None) == (group is None):
        raise CandlewickError(f"name one of --into {_KINDS} and --group NAME")
    if group is not None:
        if symbols or interval or end:
            raise CandlewickError("a group is moved in a market's whole stream: --group takes MARKET and --from alone")
        from candlewick.cli.rewinding import rewind

        rewind(group, market, start, config, data, broker, dry_run=dry_run, yes=yes)
        return
    kind, target = _target(into or "")
    if kind == "parquet":
        _into_parquet(Path(target), market, symbols, interval, start, end, config, data, broker)
        return
    pace = parse_speed(speed)
    from shared.broker.client import broker_errors

    with options.recording(config, data, broker) as rec:
        question = (market, symbols, interval, options.moment(start), options.moment(end))
        if kind == "ws":
            _serve(rec, question, int(target), pace, wait_for)
            return
        running = rec.replay(*question, speed=pace)
        with (
            broker_errors(rec.settings),
            _shown(running, to_terminal=kind != "stdout"),
            _paused_by_signal(running),
        ):
            count = _hand_out(running, _to_stdout() if kind == "stdout" else _to_stream(rec, target))
    print(f"{counted(count, 'candle')} replayed, {counted(running.gaps, 'gap')}", file=sys.stderr)


def _target(into: str) -> tuple[str, str]:
    """Kind and target of ``--into``."""
    kind, colon, target = into.partition(":")
    if into in ("stdout", "-"):
        return "stdout", ""
    if colon and kind == "stream" and target:
        return kind, target
    if colon and kind == "ws" and target.isdecimal() and int(target) < 2**16:
        return kind, target
    if colon and kind == "parquet" and target:
        return kind, target
    if colon and kind in ("stream", "ws", "parquet", "stdout"):
        raise CandlewickError(f"--into {into!r} is not one of {_KINDS}")
    return "parquet", into


def _into_parquet(
    into: Path, market: Any, symbols: Any, interval: Any, start: Any, end: Any, config: Any, data: Any, broker: Any
) -> None:
    from consumer.dataset.dataset import Dataset
    from consumer.recovery.replay import Selection
    from consumer.recovery.replay import replay as run

    settings, *_ = options.settings_and_flags(config, data, broker)
    if into.resolve().is_relative_to(settings.data.folder.resolve()):
        raise SettingsError(f"{into} is in the data folder that is recorded to: replay into another one")
    stored = Dataset.of(settings)
    with options.broker_connection(config, data, broker) as (client, keys):
        names = frozenset(symbol.upper() for symbol in symbols or ())
        done = run(client, keys, into, Selection(market, names, interval, start, end), stored)
    print(
        f"{counted(done.series, 'series', 'series')} into {into / 'candles'}: {counted(done.candles, 'candle')} from "
        f"{counted(done.entries, 'entry', 'entries')}, {counted(done.rows, 'row')} of the store"
        + (f"; {done.unreadable} entries could not be read" if done.unreadable else "")
    )
    if done.conflicts:
        print(f"two different candles met {counted(done.conflicts, 'time')}: the one with more trades stays")


def _hand_out(running: "Replay", write: Callable[[list[Any]], None]) -> int:
    from candlewick.recording.replay import Gap

    count = 0
    for batch in running.batches():
        for item in batch:
            if isinstance(item, Gap):
                print(item, file=sys.stderr)
        write(batch)
        count += sum(not isinstance(item, Gap) for item in batch)
    return count


def _to_stdout() -> Callable[[list[Any]], None]:
    from candlewick.cli.following import print_candles
    from candlewick.recording.follow import followed
    from candlewick.recording.replay import Gap

    return lambda batch: print_candles([followed(item) for item in batch if not isinstance(item, Gap)])


def _to_stream(rec: "Recording", prefix: str) -> Callable[[list[Any]], None]:
    from candlewick.recording.stream_sink import StreamSink
    from shared.broker.client import sync_client

    sink = StreamSink(sync_client(rec.settings), prefix, rec.settings.broker.prefix)
    for market, sources in rec.sources().items():
        sink.claim(market, sources)
    return sink.write


def _serve(rec: "Recording", question: tuple[Any, ...], port: int, speed: float | None, wait_for: int) -> None:
    """Serve the exchange's own frames until the data ends or Ctrl-C."""
    import asyncio

    try:
        from simulator.serve import serve
        from simulator.server.options import SimulatorOptions
        from simulator.server.simulator import Simulator
    except ModuleNotFoundError as error:
        raise CandlewickError(f"ws: needs {error.name}: pip install 'candlewick[simulator]'") from None
    from shared.process.logs import configure_logging

    klines = rec.klines(*question)
    configure_logging("replay", "INFO")
    exchange = SimulatorOptions(port=port, klines=klines, speed=speed, updates=0, wait_for=wait_for, linger=True)
    asyncio.run(serve(Simulator(exchange), exit_at_end=False))


@contextlib.contextmanager
def _shown(running: "Replay", *, to_terminal: bool) -> Iterator[None]:
    """A bar of the time that has been reached, on a terminal, whose space bar pauses."""
    if not (to_terminal and sys.stderr.isatty() and running.span is not None):
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from shared.interval import utc

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    is_over, span = threading.Event(), running.span
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress, _space_bar(running):
        task = progress.add_task("", total=span.end_ms - span.begin_ms)

        def show() -> None:
            while not is_over.wait(0.2):
                text = f"{utc(running.at_ms):%Y-%m-%d %H:%M:%S}" + (" paused" if running.is_paused else "")
                progress.update(task, completed=running.at_ms - span.begin_ms, description=text)

        shower = threading.Thread(target=show, daemon=True)
        shower.start()
        try:
            yield
        finally:
            is_over.set()
            shower.join()


@contextlib.contextmanager
def _space_bar(running: "Replay") -> Iterator[None]:
    """Let the space bar of a terminal pause."""
    if not sys.stdin.isatty():
        yield
        return
    import select
    import termios
    import tty

    before, is_over = termios.tcgetattr(sys.stdin), threading.Event()

    def listen() -> None:
        while not is_over.is_set():
            if select.select([sys.stdin], [], [], 0.2)[0] and os.read(sys.stdin.fileno(), 1) == b" ":
                running.toggle()

    listener = threading.Thread(target=listen, daemon=True)
    tty.setcbreak(sys.stdin)
    listener.start()
    try:
        yield
    finally:
        is_over.set()
        listener.join()
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _paused_by_signal(running: "Replay") -> Iterator[None]:
    """Let SIGUSR1 pause, and go on."""
    before = signal.signal(signal.SIGUSR1, lambda *_: running.toggle())
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)
