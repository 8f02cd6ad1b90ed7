"""The crash matrix of the object store: a writer killed, refused or left alone at every request of a flush.

Which requests a flush makes is not written down: an undisturbed trial is measured first.
"""

import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

from rich.console import Console
from rich.progress import Progress

from chaos.brokers.plain import running_broker
from chaos.crashes.matrix import AT_ONCE, tell
from chaos.crashes.request_trial import Request, RequestFault, RequestTrial
from chaos.crashes.trial import Outcome
from chaos.s3 import S3
from chaos.waiting import NotInTimeError

_OF_WRITES = (RequestFault.CONFLICT, RequestFault.CHANGED)


def cases(requests: list[Request]) -> list[tuple[Request, RequestFault]]:
    """What is tried: every fault at every request that may meet it."""
    return [
        (request, fault)
        for request in dict.fromkeys(requests)
        for fault in RequestFault
        if request.method == "PUT" or fault not in _OF_WRITES
    ]


def crashes(folder: Path, console: Console | None = None) -> list[Outcome]:
    """Run the matrix; one outcome for each kind of request and fault.

    Args:
        folder: an empty folder; the logs of trials that went wrong stay in it.
        console: where progress is shown; not at all by default.

    Raises:
        NotInTimeError: when the undisturbed flush goes wrong.
    """
    (folder / "broker").mkdir()
    s3 = S3()
    with running_broker(folder / "broker") as broker, s3.running(), mock.patch.dict(os.environ, s3.environment()):
        (folder / "measured").mkdir()
        trial = RequestTrial(broker, folder / "measured", s3)
        outcome = trial.run()
        if not outcome.is_good:
            raise NotInTimeError(f"an undisturbed flush went wrong: {outcome}")
        chosen = cases(trial.requests)

        def one(number: int) -> Outcome:
            request, fault = chosen[number]
            return _attempt(broker, folder / f"trial-{number}", s3, request, fault)

        outcomes: dict[tuple[str, str], Outcome] = {}
        with ThreadPoolExecutor(AT_ONCE) as pool, Progress(console=console, disable=console is None) as progress:
            for outcome in progress.track(pool.map(one, range(len(chosen))), len(chosen), description="trials"):
                outcomes.setdefault((outcome.place, outcome.fault), Outcome(outcome.place, outcome.fault)).add(outcome)
    return sorted(
        outcomes.values(), key=lambda found: (found.place, list(RequestFault).index(RequestFault(found.fault)))
    )


def _attempt(broker: str, folder: Path, s3: S3, request: Request, fault: RequestFault) -> Outcome:
    """One trial; what hangs or misses its request is left over. Good trials leave no files."""
    folder.mkdir()
    try:
        outcome = RequestTrial(broker, folder, s3).run(fault, request)
    except NotInTimeError as error:
        return Outcome(request.name, fault, tried=1, left=1, notes=[str(error)])
    if outcome.is_good:
        shutil.rmtree(folder)
    return outcome


def run(console: Console) -> bool:
    """Run the matrix in a temporary folder and print its table; whether all is well."""
    folder = Path(tempfile.mkdtemp(prefix="crashes-"))
    began = time.monotonic()
    outcomes = crashes(folder, console)
    return tell(console, outcomes, folder, time.monotonic() - began)
