"""Commands that record: the whole pipeline, or one of its processes."""

import os
from collections.abc import Callable
from typing import Annotated, Any

import typer

from candlewick.cli.options import Broker, Config, Data, LogLevel, Simulator, settings_and_flags


def up(
    config: Config = None,
    data: Data = None,
    broker: Broker = None,
    simulator: Simulator = None,
    log_level: LogLevel = None,
    seconds: Annotated[float | None, typer.Option(help="Stop by itself after so long.", min=0.1)] = None,
) -> None:
    """Record: broker, one producer a market and the writer, until Ctrl-C."""
    from candlewick.up.supervisor import Supervisor
    from shared.process.logs import configure_logging

    settings, flags, environment = settings_and_flags(config, data, broker, simulator, log_level)
    configure_logging("up", settings.log.level)
    raise typer.Exit(Supervisor(settings.check_record(), flags, environment).run(seconds))


def down(config: Config = None, data: Data = None) -> None:
    """Stop what `candlewick up` started on this data folder, in good order."""
    import signal
    import time

    from candlewick.up import embedded
    from candlewick.up.supervisor import PidFile

    settings, *_ = settings_and_flags(config, data)
    pid_file = PidFile(settings.data.folder)
    pid = pid_file.running()
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 15
        while pid_file.running() == pid:
            if time.monotonic() > deadline:
                print(f"process {pid} is still stopping")
                raise typer.Exit(1)
            time.sleep(0.1)
        print(f"stopped process {pid}")
    elif not settings.broker.url and embedded.is_running(settings):
        embedded.stop(settings)
        print("nothing was recording; stopped the embedded broker that was left running")
    else:
        print(f"nothing runs on {settings.data.folder}")


def produce(
    market: Annotated[str, typer.Argument(help="spot, usdt_futures or coin_futures.")],
    share: Annotated[str, typer.Option(help="Take one part of the series, as in 1/3.")] = "1/1",
    config: Config = None,
    data: Data = None,
    broker: Broker = None,
    simulator: Simulator = None,
    log_level: LogLevel = None,
) -> None:
    """Take one market's closed candles from the exchange to the broker."""
    import asyncio

    from candlewick.cli.arguments import parse_market
    from producers.live.share import Share
    from producers.producer import produce as run
    from shared.process.logs import configure_logging

    settings, *_ = settings_and_flags(config, data, broker, simulator, log_level)
    chosen = parse_market(market)
    configure_logging(chosen, settings.log.level)
    raise typer.Exit(1 if asyncio.run(run(chosen, settings.check_record(), Share.parse(share))) else 0)


def write(
    market: Annotated[
        list[str] | None,
        typer.Option("--market", help="Write only this market. May be repeated.", show_default=False),
    ] = None,
    config: Config = None,
    data: Data = None,
    broker: Broker = None,
    simulator: Simulator = None,
    log_level: LogLevel = None,
) -> None:
    """Write candles from the broker to Parquet; any number of writers may share the work."""
    from candlewick.cli.arguments import parse_market
    from consumer.writer import write as run
    from shared.market import Market
    from shared.process.logs import configure_logging

    settings, *_ = settings_and_flags(config, data, broker, simulator, log_level)
    markets = tuple(parse_market(name) for name in market) if market else tuple(Market)
    configure_logging("writer", settings.log.level)
    run(settings, markets)


def broker(config: Config = None, data: Data = None) -> None:
    """Run the embedded broker alone, until Ctrl-C."""
    from candlewick.up import embedded
    from shared.broker.client import broker_name
    from shared.errors import BrokerError

    settings, *_ = settings_and_flags(config, data)
    if settings.broker.url:
        raise BrokerError(f"the settings name a broker, {broker_name(settings)}: the embedded one is not used")
    embedded.run_in_foreground(settings)


def status(
    config: Config = None,
    data: Data = None,
    broker: Broker = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show each market's processes and stream, and what is stored."""
    from candlewick.cli.status import collect, render

    settings, *_ = settings_and_flags(config, data, broker)
    found = collect(settings)
    if json:
        import orjson

        print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    else:
        print(render(found))


def health(
    role: Annotated[str, typer.Argument(help="spot, usdt_futures, coin_futures or writer.")],
    config: Config = None,
    data: Data = None,
    broker: Broker = None,
) -> None:
    """Leave with 0 when this host's process of that role lives, else with 1. For health checks."""
    import socket

    from redis.exceptions import RedisError

    from shared.broker.client import sync_client
    from shared.broker.heartbeat import heartbeats
    from shared.broker.keys import Keys
    from shared.errors import CandlewickError
    from shared.market import Market

    roles = (*Market, "writer")
    if role not in roles:
        raise CandlewickError(f"role {role!r} is not known: {', '.join(roles)}")
    settings, *_ = settings_and_flags(config, data, broker)
    client = sync_client(settings)
    try:
        alive = heartbeats(client, Keys(settings.broker.prefix))
    except (RedisError, OSError) as error:
        print(f"the broker does not answer: {error}")
        raise typer.Exit(1) from None
    mine = [name for found, name in alive if found == role and name.startswith(f"{socket.gethostname()}-")]
    print(", ".join(mine) or f"no {role} lives on this host")
    raise typer.Exit(0 if mine else 1)


def settings(
    config: Config = None,
    data: Data = None,
    broker: Broker = None,
    simulator: Simulator = None,
) -> None:
    """Show every setting: its environment variable, the value in force and what it means."""
    from shared.settings.load import describe

    in_force, *_ = settings_and_flags(config, data, broker, simulator)
    for name, value, meaning in describe(in_force):
        print(f"{name:<52} {value:<32} {meaning}")


COMMANDS: tuple[Callable[..., Any], ...] = (up, down, status, settings, produce, write, broker, health)
