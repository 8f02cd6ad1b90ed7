"""``candlewick seal`` and ``candlewick verify``: closed months that never change, and the proof that they did not."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from candlewick.cli import options
from candlewick.parallel.progress_bar import progress_bar
from shared.text import counted, printable

if TYPE_CHECKING:
    from candlewick.sealing.manifest import SealedFile
    from candlewick.sealing.seal import Sealing, Step
    from shared.candle import Series

_SEALED = "sealed"


def _month(text: str) -> str:
    from candlewick.sealing.manifest import parse_month

    return parse_month(text)


def seal(
    market: options.MarketOrAll = None,
    symbols: options.SymbolPatterns = None,
    interval: options.OnlyInterval = None,
    month: Annotated[
        str | None,
        typer.Option(
            parser=_month, metavar="YYYY-MM", help="Only this month. All that are over by default.", show_default=False
        ),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(metavar="DIR|URL", help="Where to. By default the data folder's sealed.", show_default=False),
    ] = None,
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Although candles are missing; the manifest names them.")
    ] = False,
    config: options.Config = None,
    data: options.Data = None,
) -> None:
    """Keep months that are over as files that never change again, with a manifest that proves it.

    Leaves with 1 when a series could not be sealed, or what is recorded differs from what was sealed.
    """
    from candlewick import __version__
    from candlewick.sealing.place import place_of
    from candlewick.sealing.plan import plan_all, plan_month
    from candlewick.sealing.seal import Sealing
    from consumer.dataset.dataset import Dataset
    from consumer.storage.layout import CANDLES
    from shared.errors import StoreError

    settings, *_ = options.settings_and_flags(config, data)
    dataset = Dataset.of(settings)
    chosen = dataset.matching(market, symbols or (), interval)
    plan = plan_all(dataset, chosen) if month is None else plan_month(dataset, chosen, month)
    if not plan.months:
        print("nothing to seal: no month is over yet")
        return
    folder = into or settings.data.folder / _SEALED
    if folder.resolve().is_relative_to((settings.data.folder / CANDLES).resolve()):
        raise StoreError(f"{folder} is among what is recorded: seal into a folder of its own")
    place = place_of(folder)
    failures = [f"not sealed: {series}, {month}: {reason}" for series, reason in plan.too_early.items()]
    print("".join(f"{failure}\n" for failure in failures), end="", file=sys.stderr)
    new, before, failed = 0, 0, len(failures)
    with place.held_for_sealing():
        sealing = Sealing(dataset, place, f"candlewick {__version__}", incomplete=incomplete)
        for over, series in plan.months.items():
            steps = _sealed(sealing, over, series)
            new += sum(step.is_new for step in steps or ())
            before += sum(step.sealed is not None and not step.is_new for step in steps or ())
            failed += 1 if steps is None else sum(bool(step.trouble) for step in steps)
    if month is not None and not new + before + failed:
        raise StoreError(f"nothing was recorded of {month} in {settings.store_name}")
    print(f"{counted(new, 'file')} sealed in {place.name}" + (f", {before:,} sealed before" if before else ""))
    raise typer.Exit(1 if failed else 0)


def _sealed(sealing: "Sealing", month: str, series: "list[Series]") -> "list[Step] | None":
    """Seal a month and say what came of it; None when its manifest is damaged."""
    from shared.errors import DamagedFileError

    with progress_bar(month) as advance:
        done = 0

        def tell(_: "Step") -> None:
            nonlocal done
            done += 1
            advance(done, len(series))

        try:
            steps = sealing.seal(month, series, tell)
        except DamagedFileError as error:
            steps, trouble = None, str(error)
    if steps is None:
        print(f"not sealed: {month}: {trouble}", file=sys.stderr)
        return None
    new = [step.sealed for step in steps if step.sealed is not None and step.is_new]
    if new:
        print(f"{month}: {_summary(new)}", flush=True)
    for step in steps:
        if step.trouble:
            what = "not sealed" if step.sealed is None else "sealed before"
            print(f"{what}: {step.series}, {month}: {step.trouble}", file=sys.stderr)
    return steps


def verify(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR|URL", help="Sealed months. By default the data folder's sealed.", show_default=False
        ),
    ] = None,
    config: options.Config = None,
    data: options.Data = None,
) -> None:
    """Prove that sealed months are what was sealed, file by file and row by row. Needs nothing but their folder.

    Leaves with 1 when anything was changed, is gone or is there besides.
    """
    from candlewick.sealing.place import place_of
    from candlewick.sealing.verify import verify as run
    from shared.errors import StoreError

    if folder is None:
        settings, *_ = options.settings_and_flags(config, data)
        folder = settings.data.folder / _SEALED
    place = place_of(folder)
    if not place.exists:
        raise StoreError(f"nothing was sealed in {place.name}")
    with progress_bar("verifying") as advance:
        found = run(place, advance)
    for key, problems in sorted(found.problems.items()):
        print(printable(key, None), *(f"  {printable(problem, None)}" for problem in problems), sep="\n")
    counts = f"{counted(found.months, 'month')}, {_summary(found.files.values())}"
    verdict = "all as sealed" if not found.problems else f"{counted(len(found.problems), 'file')} not as sealed"
    print(f"{counts}: {verdict}")
    raise typer.Exit(1 if found.problems else 0)


def _summary(files: "Iterable[SealedFile]") -> str:
    """How many files and candles, and how many are absent or missing, if any."""
    files = list(files)
    absent, missing = sum(file.absent_candles for file in files), sum(file.count(file.missing) for file in files)
    counts = [counted(len(files), "file"), counted(sum(file.rows for file in files), "candle")]
    counts += [f"{count:,} {word}" for count, word in ((absent, "absent"), (missing, "missing")) if count]
    return ", ".join(counts)
