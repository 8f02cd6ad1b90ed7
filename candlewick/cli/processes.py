"""Commands that record: the whole pipeline, or one of its processes."""

import os
from typing import Annotated

import typer

from candlewick.cli import options
from shared.errors import CandlewickError
from shared.market import Market


def up(
    config: options.Config = None,
    data: options.Data = None,
    broker: options.Broker = None,
    simulator: options.Simulator = None,
    log_level: options.LogLevel = None,
    seconds: Annotated[float | None, typer.Option(help="Stop by itself after so long.", min=0.1)] = None,
    mix_sources: options.MixSources = False,
    dashboard: Annotated[bool, typer.Option("--dashboard", help="Serve the dashboard, too.")] = False,
) -> None:
    """Record: broker, one producer a market and the writer, until Ctrl-C."""
    from candlewick.up.supervisor import Supervisor, check_sources
    from producers.exchange.proxy import check_proxies
    from shared.process.logs import configure_logging

    settings, flags, environment = options.settings_and_flags(
        config, data, broker, simulator, log_level, mix_sources=mix_sources
    )
    configure_logging("up", settings.log.level, settings.log.format)
    check_sources(settings)
    if settings.alarm.urls:
        from candlewick.alarms.notify import Notifier

        Notifier(settings.alarm.urls)  # an address that is none is a mistake before anything starts
    for market in Market:
        check_proxies(settings.exchange, market)
    supervisor = Supervisor(settings.check_record(), flags, environment, with_dashboard=dashboard)
    raise typer.Exit(supervisor.run(seconds))


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
    elif not settings.broker.url and embedded.is_ours(settings):
        embedded.stop(settings)
        print("nothing was recording; stopped the embedded broker that was left running")
    elif not settings.broker.url and embedded.is_running(settings):
        print(f"nothing records on {settings.data.folder}: its broker was started by hand and is left alone")
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
    mix_sources: options.MixSources = False,
) -> None:
    """Take one market's closed candles from the exchange to the broker."""
    import asyncio

    from producers.live.share import Share
    from producers.producer import produce as run
    from shared.process.logs import configure_logging

    settings, *_ = options.settings_and_flags(config, data, broker, simulator, log_level, mix_sources=mix_sources)
    configure_logging(market, settings.log.level, settings.log.format)
    raise typer.Exit(1 if asyncio.run(run(market, settings.check_record(), Share.parse(share))) else 0)


def write(
    markets: options.Markets = None,
    config: options.Config = None,
    data: options.Data = None,
    broker: options.Broker = None,
    simulator: options.Simulator = None,
    log_level: options.LogLevel = None,
    mix_sources: options.MixSources = False,
) -> None:
    """Write candles from the broker to Parquet; any number of writers may share the work."""
    from consumer.writer import write as run
    from shared.process.logs import configure_logging

    settings, *_ = options.settings_and_flags(config, data, broker, simulator, log_level, mix_sources=mix_sources)
    configure_logging("writer", settings.log.level, settings.log.format)
    run(settings, tuple(markets or Market))


def broker(config: options.Config = None, data: options.Data = None) -> None:
    """Run the embedded broker alone, until Ctrl-C."""
    from candlewick.up import embedded
    from shared.broker.address import broker_name
    from shared.errors import BrokerError

    settings, *_ = options.settings_and_flags(config, data)
    if settings.broker.url:
        raise BrokerError(f"the settings name a broker, {broker_name(settings)}: the embedded one is not used")
    embedded.run_in_foreground(settings)


def watchdog(
    config: options.Config = None,
    data: options.Data = None,
    broker: options.Broker = None,
    simulator: options.Simulator = None,
    log_level: options.LogLevel = None,
    mix_sources: options.MixSources = False,
) -> None:
    """Look at a pipeline until Ctrl-C, and tell people what is not well, and when it is again.

    `candlewick up` starts one where alarm.urls are set. On another host, with the same settings file, it notices
    that the whole machine is gone.
    """
    from candlewick.alarms.watchdog import watch
    from shared.process.logs import configure_logging

    settings, *_ = options.settings_and_flags(config, data, broker, simulator, log_level, mix_sources=mix_sources)
    configure_logging("watchdog", settings.log.level, settings.log.format)
    watch(settings)


def status(
    config: options.Config = None,
    data: options.Data = None,
    broker: options.Broker = None,
    json: options.Json = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it anew all the time, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(help="With --watch: seconds between two looks.", min=0.2)] = 2.0,
) -> None:
    """Show how well it does, each market's processes and stream, and what is stored.

    Leaves with 0 when all is recorded, 1 when something is not as it should be, 3 when nothing is recorded.
    """
    from candlewick.checks.state import collect
    from candlewick.cli.status import exit_code, render

    settings, *_ = options.settings_and_flags(config, data, broker)
    if watch:
        from candlewick.cli.watching import watch_status

        if json:
            raise CandlewickError("--watch is for people, --json for programs: name one of them")
        watch_status(settings, every)
        return
    found = collect(settings)
    if json:
        options.print_json(found)
    else:
        print(render(found))
    raise typer.Exit(exit_code(found))


def health(
    role: Annotated[str, typer.Argument(help="spot, usdt_futures, coin_futures or writer.")],
    config: options.Config = None,
    data: options.Data = None,
    broker: options.Broker = None,
) -> None:
    """Tell whether this host's process of a role does its work; for health checks.

    Leaves with 0 when it does, 1 when something is not as it should be, 3 when it does not live.
    """
    import socket

    from candlewick.checks.health import WRITER, State, Verdict, judge_role
    from consumer.group.streams import stream_figures
    from shared.broker.heartbeat import heartbeats
    from shared.errors import BrokerError, CandlewickError

    roles = (*Market, WRITER)
    if role not in roles:
        raise CandlewickError(f"role {role!r} is not known: {', '.join(roles)}")
    settings, *_ = options.settings_and_flags(config, data, broker)
    try:
        with options.broker_connection(config, data, broker) as (client, keys):
            alive = heartbeats(client, keys)
            group = settings.writer.group
            streams = {market.value: {"stream": stream_figures(client, keys, market, group)} for market in Market}
    except (BrokerError, OSError) as error:
        verdict = Verdict(State.DEAD, [str(error)])
    else:
        host = f"{socket.gethostname()}-"
        mine = [body for (found, name), body in alive.items() if found == role and name.startswith(host)]
        verdict = judge_role(role, mine, {"markets": streams}, settings)
    print("; ".join([f"{verdict.state}: {verdict.reasons[0]}", *verdict.reasons[1:]]) if verdict.reasons else "well")
    raise typer.Exit(verdict.state.exit_code)


def settings(
    config: options.Config = None,
    data: options.Data = None,
    broker: options.Broker = None,
    simulator: options.Simulator = None,
) -> None:
    """Show every setting: its environment variable, the value in force and what it means."""
    import textwrap

    from candlewick.cli.columns import terminal_columns
    from shared.settings.load import describe

    in_force, *_ = options.settings_and_flags(config, data, broker, simulator)
    for name, value, meaning in describe(in_force):
        print(f"{name}={value}")
        print(textwrap.fill(meaning, terminal_columns(), initial_indent="    ", subsequent_indent="    "))
