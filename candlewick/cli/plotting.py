"""``candlewick plot``: the candles of one series in the terminal, or as a picture in a file."""

import os
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from candlewick.cli import options
from shared.errors import CandlewickError

_PICTURES = ("png", "svg", "html")
_IN_A_PICTURE = 240  # candles, unless --tail or --from says otherwise
_SMALLEST = (40, 12)  # columns and lines


def plot(
    market: options.MarketName,
    symbol: options.SymbolName,
    interval: options.IntervalName,
    start: options.From = None,
    end: options.To = None,
    tail: Annotated[
        int | None,
        typer.Option("--tail", help="The last so many; by default as many as there is room for.", min=1),
    ] = None,
    resample: Annotated[
        str | None, typer.Option(help="Make candles of this longer interval.", metavar="INTERVAL", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A picture: FILE.png, .svg or .html.", show_default=False)
    ] = None,
    stored_only: options.StoredOnly = False,
    config: options.Config = None,
    data: options.Data = None,
    broker: options.Broker = None,
) -> None:
    """Draw candles and volume in the terminal, or into a file; what is not there stays empty."""
    import shutil

    options.check_range(start, end)
    form = output.suffix.removeprefix(".") if output is not None else None
    if form is not None and form not in _PICTURES:
        raise CandlewickError(f"{output} is no picture that can be made: {', '.join(f'.{name}' for name in _PICTURES)}")
    columns, lines = shutil.get_terminal_size((80, 24))
    width, height = max(columns, _SMALLEST[0]), max(lines, _SMALLEST[1])
    room = _IN_A_PICTURE if output is not None else _room(width)
    with options.recording(config, data, broker, stored_only=stored_only) as rec:
        table = rec.read(
            market,
            symbol,
            interval,
            options.moment(start),
            options.moment(end),
            tail=tail or (None if start is not None and output is not None else room),
            resample=resample,
            incomplete="keep",
            engine="arrow",
        )
        source = rec.source(market)
    if not table.num_rows:
        raise CandlewickError(f"{market} {symbol}-{interval} has no candle in that time")
    title = f"{market} {symbol} {resample or interval}" + (f", {source.partition(' ')[0]}" if source else "")
    try:
        from candlewick.cli.pictures import Candles, draw, lines_of

        candles = Candles.of(table, resample or interval)
        if output is not None:
            draw(candles, title, output)
            print(f"{output}: {len(candles.opens)} candles")
        else:
            drawn = lines_of(candles.last(room), title, width, height - 1)
            if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
                drawn = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in drawn]
            print("\n".join(drawn))
    except ModuleNotFoundError as error:
        raise CandlewickError(f"plot needs {error.name}: pip install 'candlewick[plot]'") from None


def _room(columns: int) -> int:
    """How many candles fit the terminal: a column each, beside the prices."""
    return columns - 14
