"""The steps of a flush, as strace shows them: which of a writer's system calls belongs to which.

A step that is called otherwise some day is missed by the matrix, not mistaken; tests/chaos/test_crashes.py asserts that
an undisturbed flush has them all.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from chaos.crashes.strace import Call

_STAGED = r'"/staging/writer-\d+/\d+'
_STAGED_FD = r"\d+</staging/writer-\d+/\d+"
_SERIES_FOLDER = r"/candles/market=\w+/interval=\w+/symbol=\w+"
PLACES = {
    "make a folder": r'mkdir(at)?\(.*"/candles',
    "open a folder above": r'open(at)?\(.*"(/candles(/market=\w+(/interval=\w+)?)?|/)", ',
    "sync a folder above": r"fsync\(\d+<(/candles(/market=\w+(/interval=\w+)?)?|/)>",
    "open a series' folder": rf'open(at)?\(.*"{_SERIES_FOLDER}", ',
    "open a partition": rf'open(at)?\(.*"{_SERIES_FOLDER}/[-\w]+\.parquet", O_RDONLY',
    "open a staged partition": rf'open(at)?\(.*{_STAGED}\.parquet", O_WRONLY',
    "write a staged partition": rf"p?write(64)?\({_STAGED_FD}\.parquet",
    "sync a staged partition": rf"f(data)?sync\({_STAGED_FD}\.parquet",
    "rename over a partition": rf"rename(at|at2)?\(.*{_STAGED}\.parquet",
    "sync a series' folder": rf"fsync\(\d+<{_SERIES_FOLDER}>",
    "make a folder of the ledger": r'mkdir(at)?\(.*"/ledger',
    "open a folder of the ledger": r'open(at)?\(.*"/ledger[^"]*(?<!\.json)", ',
    "sync a folder of the ledger": r"fsync\(\d+</ledger[^>]*(?<!\.json)>",
    "open a ledger": r'open(at)?\(.*"/ledger/[^"]*\.json", ',
    "open a staged ledger": rf'open(at)?\(.*{_STAGED}\.json", O_WRONLY',
    "write a staged ledger": rf"write\({_STAGED_FD}\.json",
    "sync a staged ledger": rf"fsync\({_STAGED_FD}\.json",
    "rename over a ledger": rf"rename(at|at2)?\(.*{_STAGED}\.json",
    "send the acknowledgement": r"sendto\(.*nXACK\\r",
    "receive its answer": r"recvfrom\(",
}
"""The steps of a flush by name, each as what its calls look like in strace's log, the data folder cut off."""


class Place(NamedTuple):
    """One call of a flush.

    Attributes:
        name: which kind of step it belongs to.
        call: its name and number, as strace counts.
    """

    name: str
    call: Call


def place_of(call: Call, data: Path) -> str | None:
    """The step of a flush that a call belongs to; None for a call that is none."""
    text = f"{call.name}({call.text}".replace(f"{data}/", "/").replace(str(data), "/")
    return next((name for name, pattern in PLACES.items() if re.match(pattern, text)), None)


def places_of(calls: Iterable[Call], data: Path) -> Iterator[Place]:
    """The calls of a flush up to the answer to its acknowledgement, each with its step, in their order."""
    acknowledging = False
    for call in calls:
        name = place_of(call, data)
        acknowledging = acknowledging or name == "send the acknowledgement"
        if name is not None and (acknowledging or name != "receive its answer"):
            yield Place(name, call)
        if acknowledging and name == "receive its answer":
            return
