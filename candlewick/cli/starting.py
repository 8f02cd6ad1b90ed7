"""``candlewick init``: a settings file, commented, from three questions or from flags."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from candlewick.cli import options
from shared.errors import CandlewickError, SettingsError

_RECORD, _INTERVALS, _HISTORY = "usdt_futures:BTCUSDT,ETHUSDT spot:BTCUSDT", "1m", "none"
_WHAT = "What to record, as MARKET:SYMBOL,SYMBOL (spot, usdt_futures, coin_futures)?"
_WIDTH = 110


def init(
    record: Annotated[
        list[str] | None,
        typer.Option("--record", "-r", help="MARKET:SYMBOL,SYMBOL, patterns too; may be repeated.", metavar="TEXT"),
    ] = None,
    intervals: Annotated[
        str | None, typer.Option("--interval", help="Such as 1m, or 1m,1h.", show_default=False)
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(help="How far back a first start reaches, such as 7d; none: not at all.", show_default=False),
    ] = None,
    data: options.Data = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("candlewick.toml"),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: what is not given is as by default.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file, if there is one.")] = False,
) -> None:
    """Write a settings file with every setting in it, explained, by three questions or by flags."""
    from shared.settings.load import load_settings

    if output.exists() and not force:
        raise CandlewickError(f"{output} is there already: --output names another file, --force replaces it")
    asks = not yes and sys.stdin.isatty()
    what = record or _answer(_WHAT, _RECORD, asks).split()
    every = intervals or _answer("At which intervals, such as 1m,1h?", _INTERVALS, asks)
    back = history or _answer("How far back at the first start, such as 7d?", _HISTORY, asks)
    groups = [_group(text, every) for text in what]
    changes: dict[str, Any] = {"record": groups, "history": "" if back == _HISTORY else back}
    if data is not None:
        changes["data"] = {"folder": data}
    settings = load_settings(Path(os.devnull), changes).check_record()
    text = "\n".join(_lines(groups, changes["history"], data))
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CandlewickError(f"{output} cannot be written: {error.strerror}") from None
    load_settings(output)
    print(f"{output}: {settings.recorded}. Next: `candlewick check`, then `candlewick up`")


def _answer(question: str, default: str, asks: bool) -> str:  # it is the user's
    return str(typer.prompt(question, default=default)).strip() if asks else default


def _group(text: str, intervals: str) -> dict[str, Any]:
    market, colon, symbols = text.partition(":")
    if not colon or not symbols:
        raise SettingsError(f"{text!r} is not of the form MARKET:SYMBOL,SYMBOL, such as usdt_futures:BTCUSDT,*USDC")
    names = [name.strip().upper() for name in symbols.split(",") if name.strip()]
    return {"market": market, "symbols": names, "intervals": [one.strip() for one in intervals.split(",")]}


def _lines(groups: Sequence[dict[str, Any]], history: str, data: Path | None) -> Iterator[str]:
    """The file: what was answered, and every other setting as a comment with its default."""
    import textwrap

    from shared.settings.model import Settings
    from shared.settings.sections import Section

    yield "# What Candlewick records, and how. What has a # in front is as by default; docs/settings.md explains all."
    yield "# The environment goes first: CANDLEWICK_ + section + _ + key, as in CANDLEWICK_BROKER_URL."
    yield ""
    yield "# How far back a first start reaches; later ones go on where they were."
    yield f'{"" if history else "# "}history = "{history or "7d"}"'
    for group in groups:
        yield ""
        yield '[[record]]  # symbols may be patterns, as in ["*USDT"] with except = ["*UPUSDT"]'
        yield from (f"{key} = {_toml(value)}" for key, value in group.items())
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if not (isinstance(section, type) and issubclass(section, Section)):
            continue
        yield ""
        yield f"[{name}]  # {(section.__doc__ or '').splitlines()[0]}"
        for key, inner in section.model_fields.items():
            yield from textwrap.wrap(f"# {inner.description}", _WIDTH, subsequent_indent="# ")
            is_given = (name, key) == ("data", "folder") and data is not None
            yield f"{'' if is_given else '# '}{key} = {_toml(str(data) if is_given else inner.default)}"
    yield ""


def _toml(value: Any) -> str:
    """A value as TOML has it; a secret is never one."""
    import json

    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (list, tuple)):
        return json.dumps(list(map(str, value)), ensure_ascii=False)
    return json.dumps("" if hasattr(value, "get_secret_value") else str(value), ensure_ascii=False)
