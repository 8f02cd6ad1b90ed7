"""The crash matrix: a writer killed, or refused, at every system call of a flush that touches the disk or the broker.

Which calls a flush makes is not written down: an undisturbed trial is measured first, and each of its calls that
``places`` knows as a step is a place to fail. Every trial has a writer, data, keys and a reader of its own.
"""

import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from chaos.brokers.plain import running_broker
from chaos.crashes import strace
from chaos.crashes.call_trial import CallTrial
from chaos.crashes.places import Place
from chaos.crashes.strace import Fault
from chaos.crashes.trial import Outcome
from chaos.waiting import NotInTimeError

AT_ONCE = 2  # trials; each has a writer that mostly starts, and a reader


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
    _empty_folder(folder / "broker")
    with running_broker(folder / "broker") as broker:
        places = measure(broker, _empty_folder(folder / "measured"))
        chosen = cases(places, every_call)

        def one(number: int) -> Outcome:
            place, fault = chosen[number]
            return _attempt(broker, _empty_folder(folder / f"trial-{number}"), place, fault)

        outcomes: dict[tuple[str, str], Outcome] = {}
        with ThreadPoolExecutor(AT_ONCE) as pool, Progress(console=console, disable=console is None) as progress:
            for outcome in progress.track(pool.map(one, range(len(chosen))), len(chosen), description="trials"):
                outcomes.setdefault((outcome.place, outcome.fault), Outcome(outcome.place, outcome.fault)).add(outcome)
    order = list(dict.fromkeys(place.name for place in places))
    return sorted(
        outcomes.values(), key=lambda found: (order.index(found.place), list(Fault).index(Fault(found.fault)))
    )


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


def tell(console: Console, outcomes: Sequence[Outcome], folder: Path, seconds: float, more: str = "") -> bool:
    """Print a matrix and what was wrong, and leave logs of nothing else; whether all is well."""
    console.print(_table(outcomes))
    console.print(f"{sum(outcome.tried for outcome in outcomes)} trials in {seconds:.0f} s{more}")
    for outcome in outcomes:
        for note in outcome.notes:
            console.print(f"{outcome.place}, {outcome.fault}: {note}", markup=False)
    is_good = all(outcome.is_good for outcome in outcomes)
    if is_good:
        shutil.rmtree(folder)
    else:
        console.print(f"logs: {folder}")
    return is_good


def _attempt(broker: str, folder: Path, place: Place, fault: Fault) -> Outcome:
    """One trial; what hangs or misses its place is left over, in the table's words. Good trials leave no files."""
    try:
        outcome = CallTrial(broker, folder).run(fault, place)
    except NotInTimeError as error:
        return Outcome(place.name, fault, tried=1, left=1, notes=[str(error)])
    if outcome.is_good:
        shutil.rmtree(folder)
    return outcome


def _empty_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _table(outcomes: Sequence[Outcome]) -> Table:
    table = Table("place", "fault", title="The crash matrix")
    for name in ("tried", "rows lost", "doubled", "not synced", "left over", "reader errors", "clean errors"):
        table.add_column(name, justify="right")
    for outcome in outcomes:
        counts = ("tried", "lost", "doubled", "unsynced", "left", "reader_errors", "clean_errors")
        figures = (str(getattr(outcome, name)) for name in counts)
        table.add_row(outcome.place, outcome.fault, *figures, style="" if outcome.is_good else "red")
    return table
