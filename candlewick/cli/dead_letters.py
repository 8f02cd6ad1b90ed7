"""``candlewick dead-letters``: entries that could not be stored, and what becomes of them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candlewick.cli import options
from candlewick.cli.options import Broker, Config, Data, MarketName, broker_connection
from candlewick.cli.plain_help import group
from shared.market import Market
from shared.text import counted

if TYPE_CHECKING:
    from consumer.group.dead_letters import DeadLetter
    from shared.broker.keys import Keys

app = group("Look at entries that could not be stored, put them back or drop them.")

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids as `list` shows them.")]
All = Annotated[bool, typer.Option("--all", help="All of the market's letters.")]


@app.command("list")
def list_letters(
    market: options.MarketOrAll = None,
    json: options.Json = False,
    config: Config = None,
    data: Data = None,
    broker: Broker = None,
) -> None:
    """Show every dead letter: its id, when, why, and what it was."""
    from consumer.group.dead_letters import dead_letters

    with broker_connection(config, data, broker) as (client, keys):
        markets = (market,) if market else Market
        letters = (letter for chosen_market in markets for letter in dead_letters(client, keys, chosen_market))
        if json:
            options.print_json([_as_json(letter) for letter in letters])
            return
        count = 0
        for letter in letters:
            count += 1
            print(_as_line(letter))
    print(counted(count, "dead letter"))


@app.command()
def show(
    market: MarketName,
    number: Annotated[str, typer.Argument(metavar="ID", help="Id as `list` shows it.")],
    config: Config = None,
    data: Data = None,
    broker: Broker = None,
) -> None:
    """Show one dead letter with every field of its entry."""
    from consumer.group.dead_letters import chosen

    with broker_connection(config, data, broker) as (client, keys):
        (letter,) = chosen(client, keys, market, [number])
    for name, value in (
        ("id", letter.id),
        ("written", letter.written),
        ("reason", _line(letter.reason)),
        ("entry", _line(letter.entry_id)),
        ("writer", _line(letter.consumer)),
        ("kept", "a part: it was too large" if letter.is_cut else "whole"),
        *((f"  {_text(name)}", _text(value)) for name, value in letter.fields.items()),
    ):
        print(f"{name:<32} {value}")


@app.command()
def requeue(
    market: MarketName,
    ids: Ids = None,
    everything: All = False,
    config: Config = None,
    data: Data = None,
    broker: Broker = None,
) -> None:
    """Put entries back into their stream, to be tried once more; --all leaves those that were not kept whole."""
    from consumer.group.dead_letters import requeue as put_back

    def act(client: Any, keys: "Keys", letter: "DeadLetter") -> bool:
        return not (everything and letter.is_cut) and put_back(client, keys, letter)

    done = _act(act, market, ids, everything, (config, data, broker))
    print(f"put back {counted(done, 'entry', 'entries')}")


@app.command()
def drop(
    market: MarketName,
    ids: Ids = None,
    everything: All = False,
    config: Config = None,
    data: Data = None,
    broker: Broker = None,
) -> None:
    """Forget letters. There is no way back."""
    from consumer.group.dead_letters import drop as act

    done = _act(act, market, ids, everything, (config, data, broker))
    print(f"dropped {counted(done, 'dead letter')}")


def _act(
    act: "Callable[[Any, Keys, DeadLetter], bool]",
    market: Market,
    ids: list[str] | None,
    everything: bool,
    where: tuple[Config, Data, Broker],
) -> int:
    """Do something with the letters that were named, or with all; with how many it was done."""
    from consumer.group.dead_letters import chosen, dead_letters
    from shared.errors import SettingsError

    if bool(ids) == everything:
        raise SettingsError("name dead letters by their ids, or all of them with --all")
    with broker_connection(*where) as (client, keys):
        found = chosen(client, keys, market, ids) if ids else list(dead_letters(client, keys, market))
        return sum(act(client, keys, letter) for letter in found)


def _as_line(letter: "DeadLetter") -> str:
    symbol, interval = (_text(letter.fields.get(name, b"?")) for name in (b"symbol", b"interval"))
    return f"{letter.market} {letter.id} {letter.written} {symbol}-{interval}: {_line(letter.reason)}"


def _as_json(letter: "DeadLetter") -> dict[str, Any]:
    entry = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in letter.fields.items()}
    return {
        "market": letter.market.value,
        "id": letter.id,
        "written": letter.written,
        "reason": letter.reason,
        "entry_id": letter.entry_id,
        "writer": letter.consumer,
        "cut": letter.is_cut,
        "entry": entry,
    }


def _text(value: bytes) -> str:
    """Bytes for a terminal: nothing in them can move its cursor."""
    return _line(value.decode(errors="replace"))


def _line(text: str) -> str:
    return text[:200] if text.isprintable() else repr(text)[:200]
