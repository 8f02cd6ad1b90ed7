"""The crash matrix: a writer killed, or refused, at every system call of a flush that touches the disk or the broker.

Which calls a flush makes is not written down: an undisturbed trial is measured first, and each of its calls that
``places`` knows as a step is a place to fail. Every trial has a writer, data, keys and a reader of its own.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from chaos.brokers.plain import running_broker
from chaos.crashes import strace
from chaos.crashes.call_trial import CallTrial
from chaos.crashes.places import Place
from chaos.crashes.strace import Fault
from chaos.crashes.trial import Outcome
from chaos.crashes.trials import empty_folder, gathered, tell
from chaos.waiting import NotInTimeError


def measure(broker: str, folder: Path) -> list[Place]:
    """The places of an undisturbed flush, in their order.

    Args:
        broker: URL of a broker; keys are made under a prefix of the trial's own.
        folder: an empty folder, for data and logs.

    Raises:
        NotInTimeError: when the flush does not come to its end.
    """
    trial = CallTrial(broker, folder)
    outcome = trial.run()
    if not outcome.is_good:
        raise NotInTimeError(f"an undisturbed flush went wrong: {outcome}")
    return trial.places()


def cases(places: Sequence[Place], every_call: bool = False) -> list[tuple[Place, Fault]]:
    """What is tried: a kill before every call, and the other faults at the first and last call of each place.

    Killed after a call is what killed before the next one is, since one thread makes them all, and EIO takes the way
    of ENOSPC; so these are tried less often, unless ``every_call`` says otherwise.
    """
    firsts = {place.name: place for place in reversed(places)}
    lasts = {place.name: place for place in places}
    return [
        (place, fault)
        for place in places
        for fault in Fault
        if every_call or fault is Fault.KILLED_BEFORE or place in (firsts[place.name], lasts[place.name])
    ]


def crashes(folder: Path, every_call: bool = False, console: Console | None = None) -> list[Outcome]:
    """Run the matrix; one outcome for each place and fault, in the order of a flush.

    Args:
        folder: an empty folder; the logs of trials that went wrong stay in it.
        every_call: every fault at every call.
        console: where progress is shown; not at all by default.

    Raises:
        NotInTimeError: when the undisturbed flush cannot be measured.
    """
    empty_folder(folder / "broker")
    with running_broker(folder / "broker") as broker:
        places = measure(broker, empty_folder(folder / "measured"))
        chosen = cases(places, every_call)

        def one(place: Place, fault: Fault, empty: Path) -> Outcome:
            return CallTrial(broker, empty).run(fault, place)

        outcomes = gathered(chosen, one, folder, console)
    order = list(dict.fromkeys(place.name for place in places))
    return sorted(outcomes, key=lambda found: (order.index(found.place), list(Fault).index(Fault(found.fault))))


def run(console: Console, every_call: bool = False) -> bool:
    """Run the matrix in a temporary folder and print its table; whether all is well.

    Raises:
        NotInTimeError: when strace cannot be used here.
    """
    refusal = strace.refusal()
    if refusal is not None:
        raise NotInTimeError(f"the crash matrix cannot be run: {refusal}")
    folder = Path(tempfile.mkdtemp(prefix="crashes-"))
    began = time.monotonic()
    outcomes = crashes(folder, every_call, console)
    polls = sum(outcome.polls for outcome in outcomes)
    return tell(console, outcomes, folder, time.monotonic() - began, f"; the reader read everything {polls:,} times")
