"""The watchdog: looks at a pipeline again and again, and tells people.

It reads what processes say in the broker, so it may run on any host that reaches it. On another host than the
pipeline's it also notices that the whole machine is gone.
"""

import logging
import shutil
import signal
import socket
import threading
import time
from datetime import UTC, datetime

from candlewick.alarms.book import AlarmBook
from candlewick.alarms.conditions import Conditions, conditions
from candlewick.alarms.notify import Notifier
from candlewick.checks.state import collect
from shared.errors import SettingsError
from shared.process.stopping import stop_signals
from shared.settings.model import Settings

log = logging.getLogger(__name__)


def watch(settings: Settings) -> None:
    """Look until SIGTERM or SIGINT. SettingsError when nobody is to be told, or an address is none."""
    if not settings.alarm.urls:
        raise SettingsError("nobody is to be told: name addresses under [alarm] urls")
    stop = threading.Event()
    for number in stop_signals():
        signal.signal(number, lambda *_: stop.set())
    notifier = Notifier(settings.alarm.urls)
    book = AlarmBook(settings.alarm, socket.gethostname(), datetime.now(UTC))
    log.info("watching; %d to be told", len(settings.alarm.urls))
    while not stop.wait(settings.alarm.look_seconds):
        found = _look(settings)
        now, moment = time.monotonic(), datetime.now(UTC)
        message = book.look(found.alarms, now, moment, found.is_hidden)
        if message is None:
            continue
        log.warning("%s: %s", message.title, "; ".join(message.lines))
        if len(notifier.send(message)) < len(settings.alarm.urls):  # somebody knows
            book.sent(now, moment)
        else:
            book.failed(now)


def _look(settings: Settings) -> Conditions:
    """What is wrong now; that nothing can be seen is a trouble, too."""
    try:
        folder = settings.data.folder
        free = shutil.disk_usage(folder).free if folder.exists() else None
        return conditions(collect(settings, with_store=False), settings, time.time(), free)
    except Exception as error:
        log.exception("an internal error while looking")
        return Conditions({"watchdog": f"the watchdog cannot look: {error!r}"}, lambda key: key != "watchdog")
