"""Arguments and options that several commands share, and the settings and the broker that they lead to."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shared.arguments import milliseconds, parse_interval, parse_market, parse_symbol, parse_time
from shared.errors import CandlewickError
from shared.interval import Interval, utc
from shared.market import Market

if TYPE_CHECKING:
    from datetime import datetime

    from candlewick.recording.recording import Recording
    from shared.broker.keys import Keys
    from shared.settings.model import Settings


def _from_ms(text: str) -> int | None:
    return milliseconds(parse_time(text, "--from"))


def _to_ms(text: str) -> int | None:
    return milliseconds(parse_time(text, "--to"))


def _complete(names: Iterable[str]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


def _complete_symbol(ctx: typer.Context, incomplete: str) -> list[str]:
    """Symbols that were recorded, of the market that stands before."""
    from candlewick.recording.opening import recording_settings
    from consumer.dataset.dataset import Dataset

    try:
        settings = recording_settings(ctx.params.get("data"), None, ctx.params.get("config"))
        series = Dataset.of(settings).series(with_metadata=True)
    except CandlewickError:
        return []
    market = ctx.params.get("market")
    symbols = {one.symbol for one in series if market in (None, one.market)}
    return sorted(symbol for symbol in symbols if symbol.startswith(incomplete.upper()))


MARKET: Any = {"parser": parse_market, "metavar": "MARKET", "autocompletion": _complete(list(Market))}
_SYMBOL: Any = {"parser": parse_symbol, "metavar": "SYMBOL", "autocompletion": _complete_symbol}
DEMO_DATA = Path("demo-data")
"""Where demonstrations have their folders, unless somebody names another place."""

_MARKETS = "spot, usdt_futures or coin_futures."
INTERVAL: Any = {"parser": parse_interval, "metavar": "INTERVAL", "autocompletion": _complete(list(Interval))}
_TIME: Any = {"metavar": "TIME", "show_default": False}

MarketName = Annotated[Market, typer.Argument(help=_MARKETS, **MARKET)]
MarketOrAll = Annotated[Market | None, typer.Argument(help=f"{_MARKETS} All by default.", **MARKET)]
MarketsOrAll = Annotated[
    str,
    typer.Argument(
        help=f"{_MARKETS} Or all.", metavar="MARKET", autocompletion=_complete([*Market, "all"]), show_default=False
    ),
]
Markets = Annotated[list[Market] | None, typer.Argument(help=f"{_MARKETS} All by default.", **MARKET)]
SymbolName = Annotated[str, typer.Argument(help="As the exchange lists it.", **_SYMBOL)]
IntervalName = Annotated[Interval, typer.Argument(**INTERVAL, help="As the exchange spells it, such as 1m.")]
FromRequired = Annotated[int, typer.Option("--from", parser=_from_ms, help="First open time, UTC.", **_TIME)]
From = Annotated[int | None, typer.Option("--from", parser=_from_ms, help="First open time, UTC.", **_TIME)]
To = Annotated[int | None, typer.Option("--to", parser=_to_ms, help="Open time to stop before.", **_TIME)]
OnlySymbols = Annotated[list[str] | None, typer.Argument(help="Only these. All by default.", **_SYMBOL)]
SymbolPatterns = Annotated[
    list[str] | None,
    typer.Argument(help="Only these; patterns such as '*USDT', too. All by default.", metavar="SYMBOL"),
]
StoredOnly = Annotated[bool, typer.Option("--stored-only", help="Leave out what is not on disk yet; ask no broker.")]
OnlyInterval = Annotated[
    Interval | None, typer.Option("--interval", help="Only this interval.", show_default=False, **INTERVAL)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Settings file; candlewick.toml by default.", show_default=False),
]
Data = Annotated[
    Path | None, typer.Option("--data", "-d", help="Data folder, or an object store's URL.", show_default=False)
]
Broker = Annotated[
    str | None,
    typer.Option(
        "--broker",
        "-b",
        metavar="URL",
        help="Broker: redis://, rediss://, unix://, sentinel:// or cluster://.",
        show_default=False,
    ),
]
Simulator = Annotated[
    str | None,
    typer.Option("--simulator", metavar="URL", help="Use this simulated exchange, not Binance.", show_default=False),
]
MixSources = Annotated[
    bool, typer.Option("--mix-sources", help="Although there are candles of another exchange, such as simulated ones.")
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, max=256, help="By so many processes of this machine.", show_default=False),
]
Dask = Annotated[
    str | None,
    typer.Option("--dask", metavar="URL", help="By a Dask scheduler's workers, tcp://HOST:8786.", show_default=False),
]
LogLevel = Annotated[str | None, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR.", show_default=False)]


def settings_and_flags(
    config: Path | None = None,
    data: Path | None = None,
    broker: str | None = None,
    simulator: str | None = None,
    log_level: str | None = None,
    *,
    mix_sources: bool = False,
) -> "tuple[Settings, Sequence[str], Mapping[str, str]]":
    """The settings in force, and the same once more as flags and environment for a process that we start.

    From here on this process has their ``data.file_umask``.
    A broker's URL may hold a password, so it goes by environment. Only an empty one goes by flag: it asks for the
    embedded broker, whatever the file says.
    """
    from shared.settings.load import given_store, load_settings

    given: Mapping[str, tuple[str, str, Any]] = {
        "--broker": ("broker", "url", broker),
        "--simulator": ("exchange", "simulator", simulator),
        "--log-level": ("log", "level", log_level.upper() if log_level else None),
    }
    values: dict[str, dict[str, Any]] = {}
    flags = ["--config", str(config)] if config else []
    for flag, (section, key, value) in given.items():
        if value is not None:
            values.setdefault(section, {})[key] = value
            if flag != "--broker" or not value:
                flags += [flag, str(value)]
    if data is not None:
        values["data"] = given_store(data)
        flags += ["--data", values["data"]["store"] or str(data)]
    if mix_sources:
        values.setdefault("exchange", {})["mix_sources"] = True
        flags.append("--mix-sources")
    settings = load_settings(config, values)
    if settings.data.file_umask:
        os.umask(int(settings.data.file_umask, 8))
    return settings, flags, {"CANDLEWICK_BROKER_URL": broker} if broker else {}


@contextmanager
def broker_connection(config: Path | None, data: Path | None, broker: str | None) -> "Iterator[tuple[Any, Keys]]":
    """A blocking client of the broker, and its key names. BrokerError, in one line, when the broker does not answer."""
    from shared.broker.client import broker_errors, sync_client
    from shared.broker.keys import Keys

    settings, *_ = settings_and_flags(config, data, broker)
    client = sync_client(settings)
    try:
        with broker_errors(settings):
            yield client, Keys(settings.broker.prefix)
    finally:
        client.close()


def market_or_all(text: str) -> Market | None:
    """A market, or None for ``all``. CandlewickError for any other word."""
    return None if text == "all" else parse_market(text)


def moment(time_ms: int | None) -> "datetime | None":
    """A time of the options as Python has it."""
    return None if time_ms is None else utc(time_ms)


@contextmanager
def recording(
    config: Path | None, data: Path | None, broker: str | None, *, stored_only: bool = False
) -> "Iterator[Recording]":
    """The recording that options name. That its broker does not answer is a line on standard error."""
    import warnings

    from candlewick.recording.access import StoredOnlyWarning
    from candlewick.recording.opening import recording_settings
    from candlewick.recording.recording import Recording

    def tell(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"candlewick: {message}", file=sys.stderr)

    settings = recording_settings(data, broker, config)
    with warnings.catch_warnings(), Recording(settings, stored_only=stored_only) as rec:
        warnings.simplefilter("always", StoredOnlyWarning)
        warnings.showwarning = tell
        yield rec


def check_range(start_ms: int | None, end_ms: int | None) -> None:
    """CandlewickError when a range ends before it begins."""
    if start_ms is not None and end_ms is not None and end_ms <= start_ms:
        raise CandlewickError(f"--to {iso(end_ms)} is not after --from {iso(start_ms)}")


def print_json(value: object) -> None:
    """Print a value as indented JSON; times are ISO 8601."""
    import orjson

    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def iso(time_ms: int) -> str:
    """A time as JSON output has it: ISO 8601 in UTC."""
    return utc(time_ms).isoformat()
