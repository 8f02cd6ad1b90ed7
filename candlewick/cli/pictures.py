"""Candles and their volume, drawn by plotext in a terminal and by matplotlib into a file.

A candle stands at its place in the interval's grid, so one that is not there leaves a gap.
"""

from html import escape
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from consumer.storage.table import TIME_COLUMN, numbers, times_ms
from shared.interval import DAY_MS, Interval, utc
from shared.text import decimal_text

_UP, _DOWN = "#26a69a", "#ef5350"
_TICKS = 5
_WHOLE = 100  # volumes from here on are shown without decimals
_VOLUME_SHARE = 4  # of so many lines one is the volume's
_HOURS_AND_MINUTES, _DAYS = "%H:%M", "%Y-%m-%d"


class Candles(NamedTuple):
    """What is drawn of each candle: its place, its time in UTC ms, prices and volume; shape (n,) each."""

    places: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    opens: npt.NDArray[np.float64]
    highs: npt.NDArray[np.float64]
    lows: npt.NDArray[np.float64]
    closes: npt.NDArray[np.float64]
    volumes: npt.NDArray[np.float64]

    @classmethod
    def of(cls, table: pa.Table, interval: str) -> "Candles":
        """From a table of one series, in the order of time."""
        times = times_ms(table, TIME_COLUMN)
        step = Interval(interval)
        places = np.arange(len(times)) if step is Interval.MONTH else (times - times[0]) // step.typical_ms
        values = (numbers(table.column(name)) for name in ("open", "high", "low", "close", "volume"))
        return cls(places, times, *values)

    def last(self, places: int) -> "Candles":
        """Those in the last so many places of the grid."""
        kept = self.places > self.places[-1] - places
        return Candles(*(column[kept] for column in self))

    def ticks(self, count: int) -> tuple[list[int], list[str]]:
        """Some places, and their times in UTC: of the day where all are of two days at most, else the days."""
        at = np.unique(np.linspace(0, len(self.times) - 1, count).astype(int))
        form = _HOURS_AND_MINUTES if self.times[-1] - self.times[0] < 2 * DAY_MS else _DAYS
        return self.places[at].tolist(), [f"{utc(int(time)):{form}}" for time in self.times[at]]


def lines_of(candles: Candles, title: str, width: int, height: int) -> list[str]:
    """A plot of so many columns and lines, in the terminal's own colours."""
    from plotext import figure

    close, last = decimal_text(float(candles.closes[-1])), utc(int(candles.times[-1]))
    above = f"{title}: {close} at {last:%Y-%m-%d %H:%M} UTC"
    decimals = len(close.partition(".")[2])
    most = float(candles.volumes.max())
    scales = (
        _scale(candles.lows.min(), candles.highs.max(), _TICKS, decimals),
        ([0.0, most], ["0", f"{most:.0f}" if most >= _WHOLE else f"{most:.3g}"]),
    )
    wide = max(len(text) for _, texts in scales for text in texts)
    volume_lines = (height - 1) // _VOLUME_SHARE
    figure.clear()
    figure.subplots(2, 1)
    prices, volumes = figure.subplot(1, 1), figure.subplot(2, 1)
    prices.plot_size(width, height - 1 - volume_lines)
    volumes.plot_size(width, volume_lines)
    for plot, (positions, texts) in zip((prices, volumes), scales, strict=True):
        plot.theme("simple")
        plot.ruler(0).lim(int(candles.places[0]) - 1, int(candles.places[-1]) + 1)
        plot.ruler(1).ticks(positions, [text.rjust(wide) for text in texts])  # one scale below the other
    ohlc = {"date": candles.places.tolist(), "open": candles.opens.tolist(), "close": candles.closes.tolist()}
    ohlc |= {"high": candles.highs.tolist(), "low": candles.lows.tolist()}
    prices.draw(prices.candlestick(ohlc))
    prices.ruler(0).ticks(*candles.ticks(_TICKS))
    volumes.draw(volumes.bar(candles.places.tolist(), candles.volumes.tolist(), width=0.1))
    volumes.ruler(0).ticks([], [])
    return [above[:width], *figure.build().string().splitlines()]


def _scale(least: float, most: float, count: int, decimals: int) -> tuple[list[float], list[str]]:
    """So many values from one to another, and their texts."""
    positions = np.linspace(least, most, count).tolist()
    return positions, [f"{value:.{decimals}f}" for value in positions]


def draw(candles: Candles, title: str, output: Path) -> None:
    """A picture in a file, in the form that its name ends in: png, svg, or html with the svg inside."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.75), layout="constrained")
    prices, volumes = figure.subplots(2, 1, sharex=True, height_ratios=(_VOLUME_SHARE, 1))
    for is_up, colour in ((True, _UP), (False, _DOWN)):
        kept = (candles.closes >= candles.opens) == is_up
        one = Candles(*(column[kept] for column in candles))
        prices.vlines(one.places, one.lows, one.highs, color=colour, linewidth=0.8)
        bottom = np.minimum(one.opens, one.closes)
        prices.bar(one.places, np.abs(one.closes - one.opens), 0.7, bottom, color=colour, edgecolor=colour)
        volumes.bar(one.places, one.volumes, 0.7, color=colour)
    prices.set_title(title)
    prices.set_ylabel("price")
    volumes.set_ylabel("volume")
    volumes.set_xticks(*candles.ticks(2 * _TICKS))
    volumes.set_xlabel("UTC")
    for plot in (prices, volumes):
        plot.grid(visible=True, alpha=0.3)
    if output.suffix == ".html":
        text = StringIO()
        figure.savefig(text, format="svg")
        svg = text.getvalue()[text.getvalue().index("<svg") :]
        page = f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title>{svg}</html>\n"
        output.write_text(page, encoding="utf-8")
    else:
        figure.savefig(output, dpi=150)
