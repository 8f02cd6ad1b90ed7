"""A broker in memory, for models that take a million steps: one stream, its group, hashes, and whatever loses them.

Only what producers use of the asyncio client, with the meaning that Redis gives it; the same calls meet real servers in
tests/producers/publish/test_verify.py. ``before`` is called before each command, so that anything may happen between
any two of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import hiredis
import redis

from shared.broker.entry import EntryId

Fields = dict[bytes, bytes]
_NONE = EntryId(0, 0)


@dataclass(slots=True)
class Stream:
    """The stream of one market, and the group of its writers."""

    entries: dict[EntryId, Fields] = field(default_factory=dict)
    last_id: EntryId = _NONE
    max_deleted: EntryId = _NONE
    delivered: EntryId | None = None  # None: there is no group
    pending: set[EntryId] = field(default_factory=set)

    def copy(self) -> "Stream":
        return replace(self, entries=dict(self.entries), pending=set(self.pending))


@dataclass(slots=True)
class Data:
    """Everything that a server holds."""

    stream: Stream | None = None
    hashes: dict[str, dict[str, str]] = field(default_factory=dict)

    def copy(self) -> "Data":
        stream = None if self.stream is None else self.stream.copy()
        return Data(stream, {name: dict(values) for name, values in self.hashes.items()})


class MemoryBroker:
    """A server whose clock is ``clock_ms``; a fail-over puts another in its place."""

    def __init__(self) -> None:
        self.data = Data()
        self.server = 0
        self.clock_ms = 1
        self.before: Callable[[], None] = lambda: None
        self.seconds: Callable[[], float] = lambda: 0.0
        self.connection_pool = self

    # What losses are made of

    def fail_over(self, data: Data, clock_ms: int) -> None:
        """Another server takes over, with what it has."""
        self.data, self.server, self.clock_ms = data.copy(), self.server + 1, clock_ms

    def add(self, fields: Mapping[str, object]) -> EntryId:
        """XADD."""
        stream = self.data.stream = self.data.stream or Stream()
        last, self.clock_ms = stream.last_id, self.clock_ms + 1
        is_behind = self.clock_ms <= last.milliseconds
        stream.last_id = last.next if is_behind else EntryId(self.clock_ms, 0)
        stream.entries[stream.last_id] = {name.encode(): str(value).encode() for name, value in fields.items()}
        return stream.last_id

    def range(self, first: str, last: str, count: int | None) -> list[tuple[bytes, Fields]]:
        """XRANGE."""
        begin, end = (EntryId.parse(text.removeprefix("(").encode()) for text in (first, last))
        stream = self.data.stream
        return [
            (str(number).encode(), fields)
            for number, fields in (sorted(stream.entries.items()) if stream is not None else ())
            if begin <= number <= end and f"({number}" not in (first, last)
        ][:count]

    # The client's calls

    async def disconnect(self, **_: object) -> None:
        """Connections are nothing here."""

    async def get_connection(self) -> "Connection":
        return Connection(self)

    async def release(self, _: "Connection") -> None:
        """Nobody else wants it."""

    async def hgetall(self, name: str) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = self._run(
            lambda: {key.encode(): value.encode() for key, value in self.data.hashes.get(name, {}).items()}
        )
        return found

    async def hset(
        self, name: str, key: str = "", value: bytes = b"", mapping: Mapping[str, str] | None = None
    ) -> None:
        values = {key: value.decode()} if mapping is None else mapping
        self._run(lambda: self.data.hashes.setdefault(name, {}).update(values))

    async def hdel(self, name: str, *keys: str) -> None:
        self._run(lambda: [self.data.hashes.get(name, {}).pop(key, None) for key in keys])

    async def hmget(self, name: str, keys: Sequence[str]) -> list[bytes | None]:
        def act() -> list[bytes | None]:
            found = self.data.hashes.get(name, {})
            return [found[key].encode() if key in found else None for key in keys]

        answer: list[bytes | None] = self._run(act)
        return answer

    async def set(self, *_: object, **__: object) -> None:
        self._run(lambda: None)

    async def xrange(self, _: str, *, min: str, max: str, count: int) -> list[tuple[bytes, Fields]]:  # noqa: A002 # the client's names
        found: list[tuple[bytes, Fields]] = self._run(lambda: self.range(min, max, count))
        return found

    def pipeline(self, *, transaction: bool) -> "Pipeline":
        return Pipeline(self, transaction)

    def _run(self, act: Callable[[], Any]) -> Any:
        self.before()
        return act()


class Connection:
    """Takes packed XADDs; anything may happen before each."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._answers: list[bytes] = []

    async def send_packed_command(self, commands: bytes) -> None:
        reader = hiredis.Reader()
        reader.feed(commands)
        while words := reader.gets():
            self._broker.before()
            names, values = words[3::2], words[4::2]
            fields = {name.decode(): value.decode() for name, value in zip(names, values, strict=True)}
            self._answers.append(str(self._broker.add(fields)).encode())

    async def read_response(self, **_: object) -> bytes:
        return self._answers.pop(0)

    async def disconnect(self, **_: object) -> None:
        """Whoever asked has gone."""


class Pipeline:
    """Commands that are sent together; in a transaction nothing comes between them."""

    def __init__(self, broker: MemoryBroker, transaction: bool) -> None:
        self._broker = broker
        self._is_transaction = transaction
        self._acts: list[Callable[[], Any]] = []

    def _add(self, act: Callable[[], Any]) -> Self:
        self._acts.append(act)
        return self

    async def execute(self, *, raise_on_error: bool = True) -> list[Any]:
        answers: list[Any] = []
        for number, act in enumerate(self._acts):
            if number == 0 or not self._is_transaction:
                self._broker.before()
            try:
                answers.append(act())
            except redis.ResponseError as error:
                if raise_on_error:
                    raise
                answers.append(error)
        return answers

    def hsetnx(self, name: str, key: str, value: str) -> Self:
        return self._add(lambda: self._broker.data.hashes.setdefault(name, {}).setdefault(key, value))

    def time(self) -> Self:
        return self._add(lambda: (int(self._broker.seconds()), int(self._broker.seconds() * 1e6) % 1_000_000))

    def hgetall(self, name: str) -> Self:
        hashes = self._broker.data.hashes
        return self._add(lambda: {key.encode(): value.encode() for key, value in hashes.get(name, {}).items()})

    def info(self, *_: str) -> Self:
        return self._add(lambda: {"run_id": f"server {self._broker.server}"})

    def xinfo_stream(self, _: str) -> Self:
        def act() -> dict[str, Any]:
            stream = self._broker.data.stream
            if stream is None:
                raise redis.ResponseError("no such key")
            ids = sorted(stream.entries)
            first, last = (
                [(str(number).encode(), stream.entries[number]) for number in (ids[0], ids[-1])]
                if ids
                else (None, None)
            )
            return {"first-entry": first, "last-entry": last, "max-deleted-entry-id": str(stream.max_deleted).encode()}

        return self._add(act)

    def xinfo_groups(self, _: str) -> Self:
        def act() -> list[dict[str, Any]]:
            stream = self._broker.data.stream
            if stream is None:
                raise redis.ResponseError("no such key")
            if stream.delivered is None:
                return []
            return [{"name": b"writers", "last-delivered-id": str(stream.delivered).encode()}]

        return self._add(act)

    def xpending(self, _: str, __: str) -> Self:
        def act() -> dict[str, Any]:
            stream = self._broker.data.stream
            if stream is None or stream.delivered is None:
                raise redis.ResponseError("NOGROUP")
            return {"min": str(min(stream.pending)).encode() if stream.pending else None}

        return self._add(act)

    def xrange(self, _: str, *, min: str, max: str, count: int | None = None) -> Self:  # noqa: A002 # the client's names
        return self._add(lambda: self._broker.range(min, max, count))
