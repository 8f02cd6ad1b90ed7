"""``candlewick dashboard``: the page with the recording's health and its candles."""

from typing import Annotated

import typer

from candlewick.cli import options
from shared.errors import CandlewickError


def dashboard(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 127.0.0.1 by default.", show_default=False)
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            help="Port to listen on; 9760 by default, 0: any that is free.", show_default=False, min=0, max=65_535
        ),
    ] = None,
    config: options.Config = None,
    data: options.Data = None,
    broker: options.Broker = None,
    simulator: options.Simulator = None,
    log_level: options.LogLevel = None,
    mix_sources: options.MixSources = False,
) -> None:
    """Serve a page that shows how the recording does, and its candles as they close, until Ctrl-C.

    It changes nothing, and answers to this machine alone unless --host says otherwise.
    """
    from shared.process.logs import configure_logging

    settings, *_ = options.settings_and_flags(config, data, broker, simulator, log_level, mix_sources=mix_sources)
    configure_logging("dashboard", settings.log.level, settings.log.format)
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = settings.model_copy(update={"dashboard": settings.dashboard.model_copy(update=given)})
    try:
        from candlewick.dashboard.server import serve
    except ModuleNotFoundError as error:
        raise CandlewickError(f"the dashboard needs {error.name}: pip install 'candlewick[dashboard]'") from None
    serve(settings)
