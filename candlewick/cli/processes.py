"""Commands that record: the whole pipeline, or one of its processes."""

import os
from collections.abc import Callable
from typing import Annotated, Any

import typer

from candlewick.cli import options
from shared.arguments import parse_market
from shared.market import Market


def up(
    config: options.Config = None,
    data: options.Data = None,
    broker: options.Broker = None,
    simulator: options.Simulator = None,
    log_level: options.LogLevel = None,
    seconds: Annotated[float | None, typer.Option(help="Stop by itself after so long.", min=0.1)] = None,
) -> None:
    """Record: broker, one producer a market and the writer, until Ctrl-C."""
    from candlewick.up.supervisor import Supervisor
    from shared.process.logs import configure_logging

    settings, flags, environment = options.settings_and_flags(config, data, broker, simulator, log_level)
    configure_logging("up", settings.log.level)
    raise typer.Exit(Supervisor(settings.check_record(), flags, environment).run(seconds))


def down(config: options.Config = None, data: options.Data = None) -> None:
    """Stop what `candlewick up` started on this data folder, in good order."""
    import signal
    import time

    from candlewick.up import embedded
    from candlewick.up.pid_file import PidFile

    settings, *_ = options.settings_and_flags(config, data)
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
    market: options.MarketName,
    share: Annotated[str, typer.Option(help="Take one part of the series, as in 1/3.")] = "1/1",
    config: options.Config = None,
    data: options.Data = None,
    broker: options.Broker = None,
    simulator: options.Simulator = None,
    log_level: options.LogLevel = None,
) -> None:
    """Take one market's closed candles from the exchange to the broker."""
    import asyncio

    from producers.live.share import Share
    from producers.producer import produce as run
    from shared.process.logs import configure_logging

    settings, *_ = options.settings_and_flags(config, data, broker, simulator, log_level)
    configure_logging(market, settings.log.level)
    raise typer.Exit(1 if asyncio.run(run(market, settings.check_record(), Share.parse(share))) else 0)


def write(
    market: Annotated[
        list[Market] | None,
        typer.Option(parser=parse_market, help="Write only this market. May be repeated.", show_default=False),
    ] = None,
    config: options.Config = None,
    data: options.Data = None,
    broker: options.Broker = None,
    simulator: options.Simulator = None,
    log_level: options.LogLevel = None,
) -> None:
    """Write candles from the broker to Parquet; any number of writers may share the work."""
    from consumer.writer import write as run
    from shared.process.logs import configure_logging

    settings, *_ = options.settings_and_flags(config, data, broker, simulator, log_level)
    configure_logging("writer", settings.log.level)
    run(settings, tuple(market or Market))


def broker(config: options.Config = None, data: options.Data = None) -> None:
    """Run the embedded broker alone, until Ctrl-C."""
    from candlewick.up import embedded
    from shared.broker.client import broker_name
    from shared.errors import BrokerError

    settings, *_ = options.settings_and_flags(config, data)
    if settings.broker.url:
        raise BrokerError(f"the settings name a broker, {broker_name(settings)}: the embedded one is not used")
    embedded.run_in_foreground(settings)


def status(
    config: options.Config = None, data: options.Data = None, broker: options.Broker = None, json: options.Json = False
) -> None:
    """Show each market's processes and stream, and what is stored."""
    from candlewick.cli.status import collect, render

    settings, *_ = options.settings_and_flags(config, data, broker)
    found = collect(settings)
    if json:
        options.print_json(found)
    else:
        print(render(found))


def health(
    role: Annotated[str, typer.Argument(help="spot, usdt_futures, coin_futures or writer.")],
    config: options.Config = None,
    data: options.Data = None,
    broker: options.Broker = None,
) -> None:
    """Leave with 0 when this host's process of that role lives, else with 1. For health checks."""
    import socket

    from shared.broker.heartbeat import heartbeats
    from shared.errors import BrokerError, CandlewickError

    roles = (*Market, "writer")
    if role not in roles:
        raise CandlewickError(f"role {role!r} is not known: {', '.join(roles)}")
    try:
        with options.broker_connection(config, data, broker) as (client, keys):
            alive = heartbeats(client, keys)
    except (BrokerError, OSError) as error:
        print(error)
        raise typer.Exit(1) from None
    mine = [name for found, name in alive if found == role and name.startswith(f"{socket.gethostname()}-")]
    print(", ".join(mine) or f"no {role} lives on this host")
    raise typer.Exit(0 if mine else 1)


def settings(
    config: options.Config = None,
    data: options.Data = None,
    broker: options.Broker = None,
    simulator: options.Simulator = None,
) -> None:
    """Show every setting: its environment variable, the value in force and what it means."""
    from shared.settings.load import describe

    in_force, *_ = options.settings_and_flags(config, data, broker, simulator)
    for name, value, meaning in describe(in_force):
        print(f"{name:<52} {value:<32} {meaning}")


COMMANDS: tuple[Callable[..., Any], ...] = (up, down, status, settings, produce, write, broker, health)
