"""Commands that go on: follow what is recorded, and wait for the last close to be complete."""

import fcntl
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from candlewick.cli import options
from shared.errors import BrokerAwayError, CandlewickError
from shared.text import counted, listed

if TYPE_CHECKING:
    from candlewick.recording.follow import Follow, FollowedCandle
    from candlewick.recording.follower_state import FollowerState


def follow(
    market: options.MarketName,
    symbols: options.SymbolPatterns = None,
    interval: options.OnlyInterval = None,
    start: options.From = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Go on where the follower of this name stopped; --from counts the first time.", show_default=False
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", "-n", help="Leave after so many candles.", min=1, show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Append to this file; with --name each candle once, whatever crashes.",
            show_default=False,
        ),
    ] = None,
    command: Annotated[
        str | None,
        typer.Option(
            "--exec",
            help="Run this for each candle, which it reads as a line of JSON.",
            metavar="COMMAND",
            show_default=False,
        ),
    ] = None,
    forget: Annotated[
        bool, typer.Option("--forget", help="Forget where the follower of this name stopped, and leave.")
    ] = False,
    config: options.Config = None,
    data: options.Data = None,
    broker: options.Broker = None,
) -> None:
    """Print every candle as a line of JSON: from a time on, or from now on, each as it is published.

    One that was missing and is repaired comes late, and says so. A broker that is away is waited for.
    """
    if forget:
        _forget(config, data, broker, market, name)
        return
    if output is not None and command is not None:
        raise CandlewickError("--output and --exec are two ways to hand candles over: choose one")
    with options.recording(config, data, broker) as rec:
        following = _patiently(lambda: rec.follow(market, symbols, interval, options.moment(start), name=name))
        with following, _handing_over(output, command, following) as deliver:
            following.in_batches(deliver, count=count, at_once=1 if command else None)


def wait(
    market: options.MarketName,
    interval: options.IntervalName,
    symbols: Annotated[
        list[str] | None,
        typer.Option("--symbols", help="Only these; names or patterns, may be repeated.", metavar="SYMBOLS"),
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds after the close at which to give up.", min=0)] = 60.0,
    config: options.Config = None,
    data: options.Data = None,
    broker: options.Broker = None,
) -> None:
    """Wait until every series has its candle of the last close. Leaves with 0 then, with 1 when one is missing."""
    from shared.interval import utc

    with options.recording(config, data, broker) as rec:
        now_ms = rec.clock(market).now_ms
        if now_ms is None:
            raise CandlewickError(f"nothing of {market} is published: is it being recorded?")
        close_ms = interval.floor(now_ms)
        begin = utc(interval.floor(close_ms - 1))
        section = next(rec.cross_sections(market, symbols, interval, begin, deadline=timeout))
    if not len(section) and section.is_complete:
        raise CandlewickError(f"no series of {market} at {interval} was recorded by {section.time:%Y-%m-%d %H:%M:%S}")
    missing = f", missing {len(section.missing)}: {listed(section.missing)}" if section.missing else ""
    print(f"{section.time:%Y-%m-%d %H:%M:%S} {counted(len(section), 'candle')}, absent {len(section.absent)}{missing}")
    raise typer.Exit(0 if section.is_complete else 1)


def _patiently(begin: "Callable[[], Follow]") -> "Follow":
    """Begin, however long the broker is away."""
    from shared.process.backoff import backoff

    pauses, has_said = backoff(), False
    while True:
        try:
            return begin()
        except BrokerAwayError as error:
            if not has_said:
                print(f"candlewick: {error}; waiting for it", file=sys.stderr)
            has_said = True
            time.sleep(next(pauses))


def _forget(config: Path | None, data: Path | None, broker: str | None, market: Any, name: str | None) -> None:
    from candlewick.recording.follower_state import forget_follower

    if name is None:
        raise CandlewickError("--forget needs --name")
    with options.broker_connection(config, data, broker) as (client, keys):
        known = forget_follower(client, keys, market, name)
    if not known:
        raise CandlewickError(f"nobody follows {market} as {name!r}")
    print(f"{name} is forgotten")


@contextmanager
def _handing_over(
    output: Path | None, command: str | None, following: "Follow"
) -> "Iterator[Callable[[Sequence[FollowedCandle]], int | None]]":
    """What hands a batch over; how long the output file is with it."""
    if command is not None:
        words = _words(command)
        yield lambda candles: _run(words, candles)
    elif output is None:
        yield print_candles
    else:
        try:
            with output.open("ab") as file:
                _lock(file, output)
                if following.state is not None:
                    _cut(file, following.state)
                yield lambda candles: _append(file, candles)
        except OSError as error:
            raise CandlewickError(f"{output} cannot be written: {error.strerror}") from None


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise CandlewickError(f"--exec {command!r} is no command: {error}") from None
    if not words:
        raise CandlewickError("--exec names no command")
    return words


def _lock(file: BinaryIO, output: Path) -> None:
    """Hold a file against other followers for as long as it is open."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CandlewickError(f"{output} is being written by another follower") from None


def _cut(file: BinaryIO, state: "FollowerState") -> None:
    """Cut a file to what was confirmed: then nothing of it comes again. One that is shorter is another file."""
    size = file.seek(0, os.SEEK_END)
    if state.length is None or size < state.length:
        state.confirm(size)
    else:
        file.truncate(state.length)
        state.handing = frozenset()


def _line(candle: "FollowedCandle") -> bytes:
    import orjson

    return orjson.dumps(candle.as_dict(), option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)


def print_candles(candles: "Sequence[FollowedCandle]") -> None:
    """Print candles as lines of JSON."""
    sys.stdout.buffer.writelines(map(_line, candles))
    sys.stdout.buffer.flush()


def _append(file: BinaryIO, candles: "Sequence[FollowedCandle]") -> int:
    """Append durably; how long the file is."""
    if candles:
        file.writelines(map(_line, candles))
        file.flush()
        os.fsync(file.fileno())
    return file.seek(0, os.SEEK_END)


def _run(words: Sequence[str], candles: "Sequence[FollowedCandle]") -> None:
    """Run a command for each candle; the first that fails ends us, and its batch counts as not handed over."""
    for candle in candles:
        try:
            done = subprocess.run(words, input=_line(candle), check=False)
        except OSError as error:
            raise CandlewickError(f"--exec {words[0]}: {error.strerror}") from None
        if done.returncode:
            raise CandlewickError(f"--exec {shlex.join(words)} left with {done.returncode}")
