"""Many trials, some at a time, and what they came to as a table."""

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from chaos.crashes.trial import Outcome
from chaos.waiting import NotInTimeError

_AT_ONCE = 2  # each has a writer that mostly starts


class Named(Protocol):
    """A place where something may happen."""

    @property
    def name(self) -> str:
        """Which kind of step it belongs to."""


_Place = TypeVar("_Place", bound=Named)
_Fault = TypeVar("_Fault", bound=str)


def gathered(
    cases: Sequence[tuple[_Place, _Fault]],
    trial: Callable[[_Place, _Fault, Path], Outcome],
    folder: Path,
    console: Console | None,
) -> list[Outcome]:
    """One outcome for each kind of place and fault.

    Args:
        cases: what is tried.
        trial: runs one of them in an empty folder; what hangs or misses its place is left over, in the table's words.
        folder: takes these folders; those of good trials do not stay.
        console: where progress is shown, if anywhere.
    """

    def one(number: int) -> Outcome:
        (place, fault), empty = cases[number], empty_folder(folder / f"trial-{number}")
        try:
            outcome = trial(place, fault, empty)
        except NotInTimeError as error:
            return Outcome(place.name, fault, tried=1, left=1, notes=[str(error)])
        if outcome.is_good:
            shutil.rmtree(empty)
        return outcome

    outcomes: dict[tuple[str, str], Outcome] = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool, Progress(console=console, disable=console is None) as progress:
        for outcome in progress.track(pool.map(one, range(len(cases))), len(cases), description="trials"):
            outcomes.setdefault((outcome.place, outcome.fault), Outcome(outcome.place, outcome.fault)).add(outcome)
    return [*outcomes.values()]


def empty_folder(folder: Path) -> Path:
    """Make a folder; the same one."""
    folder.mkdir(parents=True)
    return folder


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


def _table(outcomes: Sequence[Outcome]) -> Table:
    table = Table("place", "fault", title="The crash matrix")
    for name in ("tried", "rows lost", "doubled", "not synced", "left over", "reader errors", "clean errors"):
        table.add_column(name, justify="right")
    for outcome in outcomes:
        counts = ("tried", "lost", "doubled", "unsynced", "left", "reader_errors", "clean_errors")
        figures = (str(getattr(outcome, name)) for name in counts)
        table.add_row(outcome.place, outcome.fault, *figures, style="" if outcome.is_good else "red")
    return table
