"""One trial in an object store: one writer, one flush, at most one fault at one of its requests, one restart.

The store is S3 on loopback, in this process, so that a writer can be killed while its request waits. Requests are
counted from the moment of publishing, each by its method and its key: a flush makes them side by side, in any order.
"""

import io
import threading
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from chaos.crashes.rows import compare_files, true_row
from chaos.crashes.scenario import facts, history, published, store_history
from chaos.crashes.trial import Outcome, Trial
from chaos.s3 import S3, Fault, Kill
from chaos.waiting import wait_until
from consumer.storage.layout import CANDLES
from consumer.storage.object_store import ObjectStorage

_STEPS = {"candles": "a partition", "ledger": "metadata", "staging": "a check"}
_VERBS = {"GET": "read", "HEAD": "look at", "PUT": "write", "DELETE": "delete"}


class RequestFault(StrEnum):
    """What happens at a request."""

    KILLED_BEFORE = "killed before"
    KILLED_AFTER = "killed after"
    CONFLICT = "409"
    CHANGED = "412"
    INTERNAL = "500"
    BUSY = "503"
    LOST = "answer lost"
    SLOW = "slow"

    @property
    def kills(self) -> bool:
        """Whether the writer does not live on."""
        return self in (RequestFault.KILLED_BEFORE, RequestFault.KILLED_AFTER)

    def at(self, writer: psutil.Process) -> Fault:
        """What the server does at the request."""
        if self.kills:
            return Kill(self is RequestFault.KILLED_BEFORE, writer.kill)
        if self.value.isdigit():
            return int(self)
        return "slow" if self is RequestFault.SLOW else "lost"


class Request(NamedTuple):
    """One request of a flush.

    Attributes:
        method: of HTTP.
        key: of the object, below the store's URL.
        number: how many the same came before it.
    """

    method: str
    key: str
    number: int

    @property
    def name(self) -> str:
        """What it is for."""
        return f"{_VERBS[self.method]} {_STEPS.get(self.key.partition('/')[0], 'something else')}"


class RequestTrial(Trial):
    """One writer, one flush, at most one fault, one restart.

    Args:
        broker: URL of a broker.
        folder: an empty folder, for logs; its name is the prefix of the keys.
        s3: the store's server.
    """

    def __init__(self, broker: str, folder: Path, s3: S3) -> None:
        bucket = s3.new_bucket()
        data = {"store": bucket, "store_flush_seconds": 1}
        super().__init__(broker, folder, {"data": data, "writer": {"claim_seconds": 300}}, s3.environment())
        self._s3 = s3
        self._bucket, _, place = bucket.removeprefix("s3://").partition("/")
        self._path = f"/{self._bucket}/{place}/"
        self._mutex = threading.Lock()
        self._seen: Counter[tuple[str, str]] = Counter()
        self._happened = threading.Event()
        self.requests: list[Request] = []

    def run(self, fault: RequestFault | None = None, at: Request | None = None) -> Outcome:
        """Run it: a fault at a request, or none.

        Raises:
            NotInTimeError: when the fault did not happen, or a process hangs.
        """
        before, new = history(), published()
        outcome = Outcome(at.name if at else "", fault or "", tried=1)
        store_history(self.settings, before)
        try:
            with self._writer("writer") as writer:
                happens = fault and fault.at(psutil.Process(writer.pid))
                self._s3.faults[self._bucket] = lambda method, path: happens if self._is_at(method, path, at) else None
                self._publish([*new, *facts()])
                if fault is not None:
                    wait_until(self._happened.is_set, f"{fault} at {at}")
                if fault is not None and fault.kills:
                    self._await_death(writer)
                else:
                    self._await_recovery(writer, outcome)
                    self._stop(writer, outcome)
            del self._s3.faults[self._bucket]
            with self._writer("restarted") as writer:
                self._await_recovery(writer, outcome)
                self._stop(writer, outcome)
            files = ((key.removeprefix(f"{CANDLES}/").rpartition("/")[0], content) for key, content in self._objects())
            compared = compare_files(files, [true_row(candle) for candle in {*before, *new}])
            outcome.lost += compared.lost + compared.unreadable + self._metadata_lost()
            outcome.doubled += compared.doubled
            outcome.left += self._pending() + self._letters()
        finally:
            self._s3.faults.pop(self._bucket, None)
            self._forget()
        return outcome

    def _is_at(self, method: str, path: str, at: Request | None) -> bool:
        """Take a request down; whether it is the one at which the fault happens, now."""
        if not path.startswith(self._path):
            return False
        key = path.removeprefix(self._path)
        with self._mutex:
            request = Request(method, key, self._seen[method, key])
            self._seen[method, key] += 1
            self.requests.append(request)
            if request != at or self._happened.is_set():
                return False
            self._happened.set()
            return True

    def _objects(self) -> list[tuple[str, Any]]:
        store = ObjectStorage(self.settings.data.store)
        found = ((key, store.read(key)) for key in store.keys(CANDLES))
        return [(key, io.BytesIO(one.content)) for key, one in found if one is not None]
