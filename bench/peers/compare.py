"""All contestants on both feeds, taking turns."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.peers.environment import python_with
from bench.peers.feed import FRAMES, served
from bench.result import Contestant

_ROUNDS = 5
_PATIENCE_SECONDS = 120
_MIXED, _CLOSED = 30, 1  # frames a close
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class _Entrant:
    """A module that receives, and the package that it needs where that is not ours."""

    name: str
    module: str
    package: str | None = None


_FLOOR = _Entrant("websockets, bare", "floor")
_ENTRANTS = (
    _FLOOR,
    _Entrant("Candlewick's CandleListener", "listener"),
    _Entrant("cryptofeed", "crypto_feed", "cryptofeed"),
    _Entrant("ccxt", "ccxt_pro", "ccxt"),
    _Entrant("python-binance", "python_binance", "python-binance"),
)


def compare() -> list[Contestant]:
    """Each contestant that could be installed and runs; of the others, stderr says why not."""
    pythons = _pythons()
    mixed, closed = _best(pythons, _MIXED), _best(pythons, _CLOSED)
    floors = mixed[_FLOOR].microseconds, closed[_FLOOR].microseconds
    return [
        Contestant(f"{one.name} {found.version}", (found.microseconds, closed[one].microseconds), floors)
        for one, found in mixed.items()
        if one in closed
    ]


def _pythons() -> dict[_Entrant, Path]:
    found = dict[_Entrant, Path]()
    for entrant in _ENTRANTS:
        try:
            found[entrant] = Path(sys.executable) if entrant.package is None else python_with(entrant.package)
        except RuntimeError as error:
            _leave_out(entrant, error)
    return found


@dataclass(frozen=True, slots=True)
class _Cost:
    """Microseconds of CPU a frame, and of which version."""

    microseconds: float
    version: str


def _best(pythons: Mapping[_Entrant, Path], frames_a_close: int) -> dict[_Entrant, _Cost]:
    """The least cost of each on one feed."""
    best, running = dict[_Entrant, _Cost](), dict(pythons)
    with served(frames_a_close) as address:
        for _ in range(_ROUNDS):
            for entrant, python in tuple(running.items()):
                try:
                    cost = _cost(python, entrant.module, address)
                except RuntimeError as error:
                    _leave_out(entrant, error)
                    del running[entrant]
                    continue
                if entrant not in best or cost.microseconds < best[entrant].microseconds:
                    best[entrant] = cost
    return best


def _cost(python: Path, module: str, address: str) -> _Cost:
    command = [str(python), "-m", f"bench.peers.{module}", address, str(FRAMES)]
    variables = os.environ | {"PYTHONPATH": str(_ROOT)}
    try:
        done = subprocess.run(
            command, env=variables, capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"it took longer than {_PATIENCE_SECONDS} s") from None
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
    return _Cost(**json.loads(done.stdout))


def _leave_out(entrant: _Entrant, error: RuntimeError) -> None:
    print(f"bench: {entrant.name} is left out: {error}", file=sys.stderr)
