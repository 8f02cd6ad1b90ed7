"""An operation that is interrupted at a chosen point: killed, cut off from the broker, or stopped while others go on.

A point is a number. What an operation does to the world outside its memory is counted from 0: each change to a file
or a folder, each command that is sent to the broker, each change that an object store is asked for, each answer that
comes back. So every interruption that a real
process may meet between two of its effects has a number, and a test draws one. A number beyond the last effect
interrupts nothing.

One thing happens at a time: what is interrupted must not share its process with anything that runs beside it.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any
from unittest import mock

import obstore
import redis
from obstore.exceptions import GenericError
from redis.connection import AbstractConnection

Operation = Callable[[], object]

_REQUESTS = ("put", "delete")
_CHANGES = ("write", "fsync", "rename", "replace", "link", "unlink", "mkdir", "rmdir")


class _Killed(BaseException):
    """The process is gone: nothing of it may handle this."""


def killed(point: int, operation: Operation) -> None:
    """Run an operation as a process that is killed at a point: from there on nothing it does has an effect.

    What it had opened is closed, as the kernel does.
    """
    opened: set[int] = set()
    effects = iter(range(point))

    def on_effect(*, is_broker: bool) -> None:  # noqa: ARG001 # the kill does not care
        if next(effects, None) is None:
            raise _Killed

    with _descriptors(opened), _watched(on_effect), contextlib.suppress(_Killed):
        operation()
    for fd in opened:
        os.close(fd)


def cut_off(point: int, operation: Operation) -> None:
    """Run an operation whose connection breaks, once: before a command is sent, or when its answer is on the way."""
    effects = iter(range(point))
    cuts = iter((True,))

    def on_effect(*, is_broker: bool) -> None:
        if is_broker and next(effects, None) is None and next(cuts, False):
            raise redis.ConnectionError("the connection was cut by the test")

    with _watched(on_effect):
        operation()


def refused(point: int, operation: Operation, *, is_made: bool) -> None:
    """Run an operation of which one request to an object store fails: it is not made, or its answer is lost."""
    requests = iter(range(point))
    failures = iter((True,))

    def failing(function: Any) -> Any:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(requests, None) is not None or not next(failures, False):
                return function(*args, **kwargs)
            if is_made:
                function(*args, **kwargs)
            raise GenericError("the request was cut off by the test")

        return call

    with contextlib.ExitStack() as patches:
        for name in _REQUESTS:
            patches.enter_context(mock.patch.object(obstore, name, failing(getattr(obstore, name))))
        operation()


def overtaken(point: int, operation: Operation, others: Operation) -> None:
    """Run an operation that is stopped at a point, as by SIGSTOP, while others do something, and then goes on."""
    effects = iter(range(point))
    stops = iter((True,))

    def on_effect(*, is_broker: bool) -> None:  # noqa: ARG001 # it may be stopped anywhere
        if next(effects, None) is None and next(stops, False):
            others()

    with _watched(on_effect):
        operation()


@contextlib.contextmanager
def _watched(on_effect: Callable[..., None]) -> Iterator[None]:
    """Call ``on_effect`` before each change on disk, before each command, and after its answer has come."""

    def before(function: Any, *, is_broker: bool) -> Any:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            on_effect(is_broker=is_broker)
            return function(*args, **kwargs)

        return call

    def after(function: Any, *, is_broker: bool) -> Any:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            answer = function(*args, **kwargs)
            on_effect(is_broker=is_broker)
            return answer

        return call

    send, receive = AbstractConnection.send_packed_command, AbstractConnection.read_response
    with contextlib.ExitStack() as patches:
        for name in _REQUESTS:
            request = after(before(getattr(obstore, name), is_broker=False), is_broker=False)
            patches.enter_context(mock.patch.object(obstore, name, request))
        for name in _CHANGES:
            patches.enter_context(mock.patch.object(os, name, before(getattr(os, name), is_broker=False)))
        patches.enter_context(
            mock.patch.object(AbstractConnection, "send_packed_command", before(send, is_broker=True))
        )
        patches.enter_context(mock.patch.object(AbstractConnection, "read_response", after(receive, is_broker=True)))
        yield


@contextlib.contextmanager
def _descriptors(opened: set[int]) -> Iterator[None]:
    """Keep in ``opened`` what the block has opened by number and not closed."""
    real_open, real_close = os.open, os.close

    def open_(*args: Any, **kwargs: Any) -> int:
        fd = real_open(*args, **kwargs)
        opened.add(fd)
        return fd

    def close(fd: int) -> None:
        real_close(fd)
        opened.discard(fd)

    with mock.patch.object(os, "open", open_), mock.patch.object(os, "close", close):
        yield
