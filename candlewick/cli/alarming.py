"""``candlewick alarm``: whether those who are to be told of troubles can be."""

import typer

from candlewick.cli import options
from candlewick.cli.plain_help import group

app = group("Alarms: whether those who are to be told can be.")


@app.command("test")
def try_alarm(config: options.Config = None) -> None:
    """Send a message to every address of alarm.urls. Leaves with 1 when one did not take it."""
    import socket

    from candlewick.alarms.book import Message
    from candlewick.alarms.notify import Notifier
    from shared.errors import SettingsError

    settings, *_ = options.settings_and_flags(config)
    if not settings.alarm.urls:
        raise SettingsError("nobody is to be told: name addresses under [alarm] urls")
    title = f"Candlewick on {socket.gethostname()}: a test"
    failed = Notifier(settings.alarm.urls).send(Message(title, ("This is how an alarm comes.",), is_well=True))
    for number in range(len(settings.alarm.urls)):
        print(f"alarm.urls.{number}: {'did not take it' if number in failed else 'took it'}")
    raise typer.Exit(1 if failed else 0)
