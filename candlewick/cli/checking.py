"""``candlewick check``: settings, folder, broker, exchange and host, each well, doubtful or bad, and what to do."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from candlewick.cli import options

if TYPE_CHECKING:
    from candlewick.checks.finding import Finding
    from shared.settings.model import Settings

_WIDTH_OF_SUBJECT = 22


def check(
    config: options.Config = None,
    data: options.Data = None,
    broker: options.Broker = None,
    simulator: options.Simulator = None,
    json: options.Json = False,
) -> None:
    """Look whether everything that recording needs is there: before a first run, and when in doubt.

    Leaves with 0 when nothing is bad, with 1 otherwise, with 2 when the settings cannot be read. Changes nothing.
    """
    from candlewick.checks.broker import check_broker
    from candlewick.checks.exchange import check_exchange
    from candlewick.checks.finding import Level
    from candlewick.checks.host import check_host
    from candlewick.cli.columns import terminal_columns

    settings, *_ = options.settings_and_flags(config, data, broker, simulator)
    settings.check_record()
    found: list[Finding] = []
    for look in (_settings, _alarms, check_host, check_broker, check_exchange):
        for finding in look(settings):
            is_new = not found or finding.remedy != found[-1].remedy  # else it stands above already
            found.append(finding)
            if not json:
                print("\n".join(_lines(finding, terminal_columns(), with_remedy=is_new)), flush=True)
    if json:
        options.print_json([finding._asdict() for finding in found])
    else:
        print(_summary(found))
    raise typer.Exit(1 if any(one.level is Level.BAD for one in found) else 0)


def _settings(settings: "Settings") -> "Iterator[Finding]":
    from candlewick.checks.finding import bad, well

    if not settings.record:
        yield bad("settings", "nothing is recorded", "add symbols and intervals under [[record]]")
        return
    yield well("settings", settings.recorded)


def _alarms(settings: "Settings") -> "Iterator[Finding]":
    from candlewick.alarms.notify import Notifier
    from candlewick.checks.finding import bad, well
    from shared.errors import SettingsError

    count = len(settings.alarm.urls)
    try:
        Notifier(settings.alarm.urls) if count else None
    except SettingsError as error:
        yield bad("alarms", str(error), "correct it; `candlewick alarm test` sends a message to each")
    else:
        yield well("alarms", f"{count} to be told" if count else "nobody is told: alarm.urls is empty")


def _lines(finding: "Finding", width: int, *, with_remedy: bool) -> Iterator[str]:
    """A finding as it stands in the terminal: what was found, and below it what to do."""
    head = f"{finding.level.value:<9}{finding.subject:<{_WIDTH_OF_SUBJECT}} "
    blank = " " * len(head)
    texts = [(finding.text, head, blank), (finding.remedy, f"{blank}→ ", f"{blank}  ")]
    for text, first, others in texts if with_remedy else texts[:1]:
        wrapper = textwrap.TextWrapper(width, first, others, break_long_words=False, break_on_hyphens=False)
        yield from wrapper.wrap(text)


def _summary(found: "Sequence[Finding]") -> str:
    from candlewick.checks.finding import Level

    counts = {level: sum(finding.level is level for finding in found) for level in Level}
    if counts[Level.BAD]:
        return f"\n{counts[Level.BAD]} bad, {counts[Level.DOUBTFUL]} doubtful: not fit for recording yet"
    doubtful = counts[Level.DOUBTFUL]
    return f"\n{doubtful} doubtful, none bad: fit for recording" if doubtful else "\nall well"
