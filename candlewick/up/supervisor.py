"""``candlewick up``: the broker, a producer a market and the writer as processes of their own, watched and stopped.

A process that dies is started again, with back-off; one that leaves with code 2 has found a mistake that only its
user can mend, and everything stops, or goes on without it where recording does not need it. At SIGTERM or Ctrl-C the
producers go first and hand over what they hold, then the writer flushes, then the embedded broker ends: within ten
seconds, or what is left is killed, which loses nothing that the broker has taken. A second signal kills at once.

Every process logs to the same standard error under its own name. Each holds the reading end of a pipe whose other
end the supervisor holds: should the supervisor be killed, the pipe closes and they stop in good order by themselves.
"""

import logging
import signal
import time
from collections.abc import Mapping, Sequence

from candlewick.up import embedded
from candlewick.up.child import Child
from candlewick.up.embedded import Reach
from candlewick.up.pid_file import PidFile
from candlewick.up.restarts import Restarts
from candlewick.up.serving import end_process
from consumer.storage.kinds import open_storage
from consumer.storage.sources import SourceStore
from shared.broker.address import broker_name
from shared.errors import BrokerError, SettingsError, StoreError
from shared.market import Market
from shared.process.known_folder import KnownFolder
from shared.process.stopping import StopRequests, stop_signals
from shared.settings.model import Settings

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.2
_BROKER_SECONDS = 1.0
_PRODUCER_GRACE_SECONDS = 2.0  # beyond the time that the settings give a producer to hand over
_BESIDE_GRACE_SECONDS = 1.0
_WRITER_GRACE_SECONDS = 2.4
_STORE_GRACE_SECONDS = 60.0  # what has come since the last flush to an object store: thousands of requests
_USER_ERROR = 2
_ORDERLY_CODES = (0, -signal.SIGTERM)  # the signal itself ends a process that had not begun yet, and holds nothing
_WHY = {
    Reach.GONE: "is gone",
    Reach.SILENT: "does not answer",
    Reach.UNREACHABLE: "lives, and cannot be reached: its socket is gone",
    Reach.FOREIGN: "keeps its files elsewhere: its folder is another",
}


def check_sources(settings: Settings) -> None:
    """Whether what is recorded may go into the data folder. SourceError when that has candles of another exchange."""
    store, exchange = SourceStore(open_storage(settings)), settings.exchange
    for market in Market:
        if settings.groups(market):
            try:
                store.check(market, [exchange.source(market)], mix=exchange.mix_sources)
            except StoreError as error:  # the writer tells, and quarantines what is damaged
                log.warning("%s", error)


class Supervisor:
    """Runs the whole pipeline on this machine until it is told to stop.

    Every process gets the command-line ``flags``, and the ``environment``: what a list of processes must not show.
    """

    def __init__(
        self,
        settings: Settings,
        flags: Sequence[str],
        environment: Mapping[str, str],
        *,
        with_dashboard: bool = False,
    ) -> None:
        self._settings = settings
        markets = [market for market in Market if settings.groups(market)]
        if not markets:
            raise SettingsError("the settings record nothing: add symbols and intervals under [[record]]")
        self._producers = [Child(market, ("produce", market, *flags), environment) for market in markets]
        self._writer = Child("writer", ("write", *flags), environment)
        beside = (*(["watchdog"] if settings.alarm.urls else []), *(["dashboard"] if with_dashboard else []))
        self._beside = [Child(name, (name, *flags), environment) for name in beside]  # recording does without them
        self._children = [self._writer, *self._producers, *self._beside]
        self._page = f" or open {settings.dashboard.address}" if with_dashboard and settings.dashboard.port else ""
        self._requests = StopRequests()
        self._kill = False
        self._broker = Restarts("the embedded broker")
        self._broker_pid: int | None = None  # of one that is ours to end
        self._broker_is_down = False
        self._broker_asked_at = self._broker_answered_at = 0.0

    def stop(self, *_: object) -> None:
        """Ask ``run`` to stop; asked a second time, it kills. Safe from a signal handler."""
        self._kill = self._requests.ask() == "again" or self._kill

    def run(self, seconds: float | None = None) -> int:
        """Run until stopped, or for so many seconds; an exit code.

        It is 0 after an orderly stop, 1 when at the end a process was down or could not hand over everything, and 2
        when a process found a mistake that only the user can mend.
        """
        for number in stop_signals():
            signal.signal(number, self.stop)
        with PidFile(self._settings.data.folder).held():
            folder = KnownFolder(self._settings.data.folder)
            if not self._settings.broker.url:
                started = embedded.start(self._settings, lambda: self._requests.asked)
                log.info("%s %s", "started" if started else "found", broker_name(self._settings))
                self._look_at_broker()
            settings = self._settings
            look = f"see `candlewick status`{self._page}"
            log.info("recording %s into %s; %s", settings.recorded, settings.dataset_name, look)
            code = 0
            try:
                code = self._watch(folder, None if seconds is None else time.monotonic() + seconds)
            finally:
                self._stop_all()
            needed = (self._writer, *self._producers)
            any_failed = any(child.code not in _ORDERLY_CODES for child in needed)  # or was down
            return code or int(any_failed and not self._kill)

    def _watch(self, folder: KnownFolder, until: float | None) -> int:
        while not self._requests.asked and (until is None or time.monotonic() < until):
            try:
                folder.check()
            except StoreError as error:  # before anything is started in its place
                log.error("%s: stopping", error)
                return _USER_ERROR
            for child in tuple(self._children):
                if child.process is not None and child.code is not None:
                    if child.code == _USER_ERROR:
                        if child not in self._beside:
                            return _USER_ERROR
                        log.warning("%s is left out: it says above what is wrong; recording goes on", child.name)
                        self._children.remove(child)
                        continue
                    child.restarts.note_end(f"ended with code {child.code}")
                    child.process = None
                elif child.process is None and child.restarts.is_due:
                    child.start()
            if not self._settings.broker.url:
                self._keep_broker()
            time.sleep(_POLL_SECONDS)
        return 0

    def _keep_broker(self) -> None:
        """Start the embedded broker again when it has died or does not answer; the others hold what they have."""
        now = time.monotonic()
        if now - self._broker_asked_at < _BROKER_SECONDS or not self._broker.is_due:
            return
        self._broker_asked_at = now
        if self._broker_is_down:
            self._start_broker()
            return
        reach = self._look_at_broker()
        if reach in (Reach.READY, Reach.LOADING):
            self._broker_answered_at = now
        elif now - self._broker_answered_at >= embedded.PATIENCE_SECONDS.get(reach, 0):
            self._broker_is_down = True
            self._broker.note_end(_WHY[reach])

    def _look_at_broker(self) -> Reach:
        found = embedded.look(self._settings)
        if found.is_ours:
            self._broker_pid = found.pid
        return found.reach

    def _start_broker(self) -> None:
        self._broker.note_start()  # a try counts, so that one that fails again and again is put off ever longer
        if self._broker_pid is not None:
            end_process(self._broker_pid)  # it may live on, without its folder, and with old connections
        try:
            embedded.start(self._settings, lambda: self._requests.asked, is_patient=False)
        except (BrokerError, OSError) as error:
            self._broker.note_end(f"cannot be started: {error}; producers hold what comes")
            return
        self._broker_is_down, self._broker_answered_at = False, time.monotonic()
        log.info("the embedded broker answers again")

    def _stop_all(self) -> None:
        log.info("stopping: producers hand over, the writer flushes")
        self._stop_group(self._beside, _BESIDE_GRACE_SECONDS)  # first: an orderly end is no reason for an alarm
        self._stop_group(self._producers, self._settings.publisher.drain_seconds + _PRODUCER_GRACE_SECONDS)
        self._stop_group([self._writer], _STORE_GRACE_SECONDS if self._settings.data.store else _WRITER_GRACE_SECONDS)
        if not self._settings.broker.url and embedded.is_ours(self._settings):
            embedded.stop(self._settings)
        elif self._broker_pid is not None:
            end_process(self._broker_pid)  # in a folder that was taken away
        log.info("stopped")

    def _stop_group(self, children: Sequence[Child], grace_seconds: float) -> None:
        running = [child for child in children if child.process is not None]
        for child in running:
            child.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        while any(child.code is None for child in running) and time.monotonic() < deadline and not self._kill:
            time.sleep(_POLL_SECONDS / 4)
        for child in running:
            if child.code is None:
                log.warning("%s does not stop in time: killing it", child.name)
                child.send_signal(signal.SIGKILL)
            child.wait()
