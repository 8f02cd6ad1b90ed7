"""The crash matrix of the object store: a writer killed, refused or left alone at every request of a flush.

Which requests a flush makes is not written down: an undisturbed trial is measured first.
"""

import os
import tempfile
import time
from pathlib import Path
from unittest import mock

from rich.console import Console

from chaos.brokers.plain import running_broker
from chaos.crashes.request_trial import Request, RequestFault, RequestTrial
from chaos.crashes.trial import Outcome
from chaos.crashes.trials import empty_folder, gathered, tell
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
    s3 = S3()
    with (
        running_broker(empty_folder(folder / "broker")) as broker,
        s3.running(),
        mock.patch.dict(os.environ, s3.environment()),
    ):
        measured = RequestTrial(broker, empty_folder(folder / "measured"), s3)
        outcome = measured.run()
        if not outcome.is_good:
            raise NotInTimeError(f"an undisturbed flush went wrong: {outcome}")

        def one(request: Request, fault: RequestFault, empty: Path) -> Outcome:
            return RequestTrial(broker, empty, s3).run(fault, request)

        outcomes = gathered(cases(measured.requests), one, folder, console)
    return sorted(outcomes, key=lambda found: (found.place, list(RequestFault).index(RequestFault(found.fault))))


def run(console: Console) -> bool:
    """Run the matrix in a temporary folder and print its table; whether all is well."""
    folder = Path(tempfile.mkdtemp(prefix="crashes-"))
    began = time.monotonic()
    outcomes = crashes(folder, console)
    return tell(console, outcomes, folder, time.monotonic() - began)
