"""``candlewick dead-letters``: entries that could not be stored, and what becomes of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from candlewick.options import Broker, Config, Data, settings_and_flags

if TYPE_CHECKING:
    from consumer.letters import Letter
    from shared.broker import Keys
    from shared.market import Market

app = typer.Typer(no_args_is_help=True, help="Look at entries that could not be stored, put them back or drop them.")

MarketName = Annotated[str, typer.Argument(metavar="MARKET", help="spot, usdt_futures or coin_futures.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="Ids as `list` shows them.")]
All = Annotated[bool, typer.Option("--all", help="All of the market's letters.")]


@app.command("list")
def list_letters(
    market: Annotated[str | None, typer.Argument(metavar="[MARKET]", help="Only this market. [default: all]")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, a letter a line.")] = False,
    config: Config = None,
    data: Data = None,
    broker: Broker = None,
) -> None:
    """Show every dead letter: its id, when, why, and what it was."""
    from candlewick.arguments import counted, parse_market
    from consumer.letters import letters
    from shared.market import Market

    markets = (parse_market(market),) if market else tuple(Market)
    count = 0
    with _broker(config, data, broker) as (client, keys):
        for one in markets:
            for letter in letters(client, keys, one):
                count += 1
                print(
                    _as_json(letter) if json else f"{one} {letter.id} {letter.written} {_name(letter)}: {letter.reason}"
                )
    if not json:
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
    from candlewick.arguments import parse_market
    from consumer.letters import chosen

    with _broker(config, data, broker) as (client, keys):
        (letter,) = chosen(client, keys, parse_market(market), [number])
    for name, value in (
        ("id", letter.id),
        ("written", letter.written),
        ("reason", letter.reason),
        ("entry", letter.entry_id),
        ("writer", letter.consumer),
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
    """Put entries back into their stream, to be tried once more."""
    from candlewick.arguments import counted, parse_market
    from consumer.letters import requeue as run

    with _broker(config, data, broker) as (client, keys):
        wanted = _wanted(client, keys, parse_market(market), ids, everything=everything)
        done = sum(run(client, keys, letter) for letter in wanted)
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
    from candlewick.arguments import counted, parse_market
    from consumer.letters import drop as run

    with _broker(config, data, broker) as (client, keys):
        wanted = _wanted(client, keys, parse_market(market), ids, everything=everything)
        done = sum(run(client, keys, letter) for letter in wanted)
    print(f"dropped {counted(done, 'dead letter')}")


def _wanted(client: Any, keys: "Keys", market: "Market", ids: list[str] | None, *, everything: bool) -> "list[Letter]":
    from consumer.letters import chosen, letters
    from shared.errors import SettingsError

    if bool(ids) == everything:
        raise SettingsError("name dead letters by their ids, or all of them with --all")
    return list(letters(client, keys, market)) if everything else chosen(client, keys, market, ids or [])


@contextmanager
def _broker(config: Config, data: Data, broker: Broker) -> "Iterator[tuple[Any, Keys]]":
    """A connection to the broker; while it does not answer, one line."""
    from redis.exceptions import RedisError

    from shared.broker import Keys, broker_name, sync_client
    from shared.errors import BrokerError

    settings, *_ = settings_and_flags(config, data, broker)
    client = sync_client(settings)
    try:
        yield client, Keys(settings.broker.prefix)
    except (RedisError, OSError) as error:
        raise BrokerError(f"{broker_name(settings)} does not answer: {error}") from None
    finally:
        client.close()


def _name(letter: "Letter") -> str:
    return f"{_text(letter.fields.get(b'symbol', b'?'))}-{_text(letter.fields.get(b'interval', b'?'))}"


def _text(value: bytes) -> str:
    """Bytes for a terminal: nothing in them can move its cursor."""
    text = value.decode(errors="replace")
    return text[:200] if text.isprintable() else repr(text)[:200]


def _as_json(letter: "Letter") -> str:
    import orjson

    body = {
        "market": letter.market.value,
        "id": letter.id,
        "written": letter.written,
        "reason": letter.reason,
        "entry_id": letter.entry_id,
        "writer": letter.consumer,
        "entry": {
            name.decode(errors="replace"): value.decode(errors="replace") for name, value in letter.fields.items()
        },
    }
    return orjson.dumps(body).decode()
