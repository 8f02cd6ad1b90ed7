"""The whole pipeline as processes that can be broken one by one: exchange, broker behind a proxy, producers, writers.

The exchange is simulated; its time begins when every series that is recorded by name is subscribed, so that what must
be on disk is known to the candle. A market may be recorded twice, as by a second host, and several writers may share
one data folder: the shape says so. Nothing supervises them but whoever breaks them: a part that ends by itself is a
finding.
"""

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import httpx

from candlewick.up.child import COMMAND, SUPERVISED
from chaos.brokers.cluster import Cluster
from chaos.brokers.sentinels import Sentinels
from chaos.brokers.several import Several
from chaos.brokers.single import Single
from chaos.logbook import Logbook
from chaos.processes import Part, clean_environment
from chaos.proxy import proxy
from chaos.whole.shape import Shape
from chaos.whole.truth import Difference, compare, control
from consumer.dataset.audit import SeriesAudit, audit
from consumer.dataset.dataset import Dataset
from shared.broker.client import sync_client
from shared.broker.keys import Keys
from shared.errors import StoreError
from shared.interval import MINUTE_MS
from shared.market import Market
from shared.settings.load import load_settings
from shared.settings.model import Settings

BROKERS = ("single", "sentinel", "cluster")
"""Kinds of brokers: a server behind a proxy, two that Sentinels watch, a cluster of six."""

_START_SECONDS = 60.0
_POLL_SECONDS = 0.5
_ADDRESS_LINE = "simulated exchange at "


class ChaosError(Exception):
    """A run that came to no result; the text says why."""


class Pipeline:
    """Everything that runs; use it as a context manager: when it is left, nothing runs any more.

    Args:
        folder: of this run: data, broker, log. It must exist and be empty.
        seed: of the exchange's market and faults.
        shape: what is recorded, and how.
        broker: its kind, one of ``BROKERS``.

    Attributes:
        address: of the simulated exchange.
        exchange: its process.
        begin_ms: the exchange's time from which on everything is recorded.
        broker: what runs of it.
        producers: parts.
        writers: parts.
        settings: in force in every part.
        expected: series that must be on disk at the end; whoever lists a symbol adds to it.
    """

    def __init__(self, folder: Path, seed: int, shape: Shape, broker: str = "single") -> None:
        self.folder = folder.absolute()
        self._broker_kind = broker
        self.shape = shape
        self.expected = shape.series
        self._seed = seed
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            shape = self.shape
            self.logbook = stack.enter_context(Logbook(self.folder / "log", shape.max_log_bytes))
            short = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cw-")))  # for a socket's short path
            self.broker = self._start_broker(stack, short)
            self.address = self._start_exchange(stack)
            self.begin_ms = int(control(self.address)["time_ms"]) // MINUTE_MS * MINUTE_MS
            self._config = self.folder / "candlewick.toml"
            self._config.write_text(self._settings_text())
            self.settings: Settings = load_settings(self._config)
            self.producers = [self._candlewick(stack, market, "produce", market) for market in Market]
            self.writers = [
                self._candlewick(stack, f"writer {number}", "write") for number in range(1, shape.writers + 1)
            ]
            self._start_all(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def parts(self) -> Sequence[Part]:
        """Whatever may be broken, but for the exchange."""
        return (*self.broker.parts, *self.producers, *self.writers)

    def client(self) -> Any:
        """A connection to the broker that no fault of a proxy meets."""
        return self.broker.client() if isinstance(self.broker, Single) else sync_client(self.settings)

    def ask_exchange(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> None:
        """Ask the exchange's control endpoint for something.

        Raises:
            httpx.HTTPError: when it refuses.
        """
        answer = httpx.request(method, f"{self.address}/control/{path}", json=body, timeout=10)
        answer.raise_for_status()

    def audits(self, end_ms: int) -> list[SeriesAudit]:
        """Every series that is known by now, audited up to a time."""
        try:
            dataset = Dataset.in_folder(self.settings.data.folder)
            return audit(dataset, dataset.series(with_metadata=True), None, end_ms, self.settings.repair)
        except StoreError:
            return []

    def is_complete(self, end_ms: int) -> bool:
        """Whether every expected series is known and nothing is missing of any up to a time."""
        found = {audited.series: audited for audited in self.audits(end_ms)}
        return all(series in found and found[series].is_good for series in self.expected)

    def waiting(self) -> int:
        """Entries in the streams that are not acknowledged: pending, or not delivered yet."""
        keys, group = Keys(self.settings.broker.prefix), self.settings.writer.group
        count = 0
        with self.client() as client:
            for market in Market:
                stream = keys.candles(market)
                if not client.exists(stream):  # it was deleted at last, and nobody has published since
                    continue
                last = client.xinfo_groups(stream)[0]["last-delivered-id"].decode()
                count += client.xpending(stream, group)["pending"] + len(client.xrange(stream, min=f"({last}"))
        return count

    def dead_letters(self) -> int:
        """Entries that could not be stored."""
        keys = Keys(self.settings.broker.prefix)
        with self.client() as client:
            return sum(client.xlen(keys.dead_letters(market)) for market in Market)

    def compare(self, end_ms: int) -> list[Difference]:
        """Every expected series on disk against the exchange; see ``chaos.whole.truth``."""
        return compare(self.address, self.settings.candles_folder, self.expected, self.begin_ms, end_ms)

    def _start_exchange(self, stack: contextlib.ExitStack) -> str:
        shape = self.shape
        command = [*COMMAND, "simulate", "--port", "0", "--seed", self._seed, "--speed", shape.speed, *shape.exchange]
        command += ["--wait-for", len(self.expected), "--fault", f"holes={shape.holes}"]
        self.exchange = part = Part(
            "exchange",
            [str(word) for word in command],
            self.logbook,
            cwd=self.folder,
            env=clean_environment(**{SUPERVISED: "1"}),
            stdout=subprocess.PIPE,
        )
        stack.callback(part.end)
        part.start()
        assert part.process is not None and part.process.stdout is not None  # noqa: S101, PT018 # it is a pipe
        line = part.process.stdout.readline().decode()
        if not line.startswith(_ADDRESS_LINE):
            raise ChaosError(f"the simulated exchange does not start; see {self.logbook.path}")
        return line.removeprefix(_ADDRESS_LINE).strip()

    def _start_all(self, stack: contextlib.ExitStack) -> None:
        """Start every part; second recorders of a market when time runs, for the exchange counts channels."""
        begin_ms = int(control(self.address)["time_ms"])
        for part in (*self.producers, *self.writers):
            part.start()
        self.wait_for("the exchange's time runs", lambda: int(control(self.address)["time_ms"]) > begin_ms)
        for market in self.shape.recorded_twice:
            second = self._candlewick(stack, f"{market} 2", "produce", market)
            self.producers.append(second)
            second.start()

    def wait_for(
        self,
        what: str,
        condition: Callable[[], bool],
        seconds: float = _START_SECONDS,
        poll_seconds: float = _POLL_SECONDS,
    ) -> None:
        """Poll until a condition holds.

        Raises:
            ChaosError: when it does not in time.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise ChaosError(f"not within {seconds:g} s: {what}")
            time.sleep(poll_seconds)

    def _candlewick(self, stack: contextlib.ExitStack, name: str, *arguments: str) -> Part:
        return self._part(stack, name, [*COMMAND, *arguments, "--config", str(self._config)])

    def _part(self, stack: contextlib.ExitStack, name: str, command: Sequence[str]) -> Part:
        part = Part(name, command, self.logbook, cwd=self.folder, env=clean_environment(**{SUPERVISED: "1"}))
        stack.callback(part.end)
        return part

    def _start_broker(self, stack: contextlib.ExitStack, sockets: Path) -> Single | Several:
        folder = self.folder / "broker"
        if self._broker_kind == "single":
            broker = Single(folder, self.logbook, sockets)
            stack.callback(broker.end)
            broker.start()
            broker.proxy = stack.enter_context(proxy(broker.socket))
            return broker
        several = (Sentinels if self._broker_kind == "sentinel" else Cluster)(folder, self.logbook)
        stack.callback(several.end)
        several.start()
        return several

    def _settings_text(self) -> str:
        shape = self.shape
        here: Mapping[str, Mapping[str, object]] = {
            "data": {"folder": str(self.folder / "data")},
            "broker": {"url": self.broker.url},
            "exchange": {"simulator": self.address, "weight_folder": str(self.folder / "weight")},
        }
        sections = {name: {**shape.settings.get(name, {}), **here.get(name, {})} for name in {**here, **shape.settings}}
        groups = [
            {
                "market": market.value,
                "symbols": ["*"] if market in shape.by_pattern else list(shape.symbols[market]),
                "intervals": list(intervals),
            }
            for market, intervals in shape.intervals.items()
        ]
        return "".join(f"[[record]]\n{_toml(group)}" for group in groups) + "".join(
            f"[{name}]\n{_toml(values)}" for name, values in sections.items()
        )


def _toml(values: Mapping[str, object]) -> str:
    return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items())
