"""Options that several commands share, and the settings they lead to."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from shared.broker.keys import Keys
    from shared.settings.model import Settings

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Settings file. [default: candlewick.toml]", show_default=False),
]
Data = Annotated[Path | None, typer.Option("--data", "-d", help="Data folder.", show_default=False)]
Broker = Annotated[
    str | None,
    typer.Option("--broker", "-b", metavar="URL", help="Broker: redis://, rediss:// or unix://.", show_default=False),
]
Simulator = Annotated[
    str | None,
    typer.Option("--simulator", metavar="URL", help="Use this simulated exchange, not Binance.", show_default=False),
]
LogLevel = Annotated[str | None, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR.", show_default=False)]


def settings_and_flags(
    config: Path | None = None,
    data: Path | None = None,
    broker: str | None = None,
    simulator: str | None = None,
    log_level: str | None = None,
) -> "tuple[Settings, Sequence[str], Mapping[str, str]]":
    """The settings in force, and the same once more as flags and environment for a process that we start.

    A broker's URL may hold a password, so it goes by environment; only an empty one, which asks for the embedded
    broker whatever the file says, goes by flag.
    """
    from shared.settings.load import load_settings

    given: Mapping[str, tuple[str, str, Any]] = {
        "--data": ("data", "folder", data),
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
    return load_settings(config, values), flags, {"CANDLEWICK_BROKER_URL": broker} if broker else {}


@contextmanager
def broker_connection(config: Path | None, data: Path | None, broker: str | None) -> "Iterator[tuple[Any, Keys]]":
    """A blocking client of the broker, and its key names; when the broker does not answer, one line."""
    from redis.exceptions import RedisError

    from shared.broker.client import broker_name, fatal_answer, sync_client
    from shared.broker.keys import Keys
    from shared.errors import BrokerError

    settings, *_ = settings_and_flags(config, data, broker)
    client = sync_client(settings)
    try:
        yield client, Keys(settings.broker.prefix)
    except RedisError as error:
        does_not_answer = BrokerError(f"{broker_name(settings)} does not answer: {error}")
        raise fatal_answer(error, settings) or does_not_answer from None
    finally:
        client.close()
