"""Producers of one market on several hosts share its series, while hosts die, hang, come and lose what they need.

Each change is measured: how many series moved, against how many rendezvous hashing has to move, and how long it took
until every series was delivered by its owners again. At the end what is on disk is compared with the exchange's truth.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from chaos.hosts.hosts import Hosts
from chaos.hosts.network import BROKER, EXCHANGE
from chaos.waiting import wait_until
from chaos.whole.shape import BASE_MS
from chaos.whole.truth import Difference, candles_of, compare, control
from consumer.dataset.audit import audit
from consumer.dataset.dataset import Dataset
from producers.live.members import Division
from shared.interval import MINUTE_MS, utc

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
        requests: REST requests for candles, of all hosts, meanwhile.
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
        return candles_of(self.differences, kind)


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
            requests = f"{outcome.changes[-1].requests} REST requests for candles"
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
    outcome.differences = compare(hosts.address, root, hosts.series, BASE_MS, until_ms)


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
