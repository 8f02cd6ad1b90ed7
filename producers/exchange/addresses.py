"""Addresses of the exchange, of which one is used until it fails. Pure.

A market may be reached at several addresses, and which of them serves whom changes: one is blocked in a country (451,
403), one falls silent, one is gone. Whoever meets that lets the address give way to the next one, for all who share
the list. Behind the last comes the first again; how long to wait between tries is the caller's affair. After a day the
first is tried again: it may serve by now.
"""

import logging
import time
from collections.abc import Callable, Sequence

from shared.process.once import SayOnce

log = logging.getLogger(__name__)

_REPEAT_SECONDS = 600.0
_FORGET_SECONDS = 24 * 3600.0


class Addresses:
    """Addresses of one kind, best first. ``what`` names the kind for the log."""

    def __init__(self, what: str, addresses: Sequence[str], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._addresses = tuple(addresses)
        self._at, self._moved_at = 0, 0.0
        self._monotonic = monotonic
        self._warn = SayOnce(log.warning, _REPEAT_SECONDS)

    @property
    def current(self) -> str:
        """The one to use now."""
        if self._at and self._monotonic() - self._moved_at >= _FORGET_SECONDS:
            self._at = 0
        return self._addresses[self._at]

    @property
    def given_way(self) -> list[str]:
        """A line while another address than the first is in use."""
        first, current = self._addresses[0], self.current
        return [f"{self._what}: {current} is used, {first} gave way"] if current != first else []

    def give_way(self, address: str, reason: object) -> None:
        """An address does not serve: use the next, unless another one is in use already, or there is no other."""
        if address != self.current or len(self._addresses) == 1:
            return
        self._at, self._moved_at = (self._at + 1) % len(self._addresses), self._monotonic()
        text = "%s: %s gives way to %s: %s"
        self._warn(text, self._what, address, self.current, reason, same=address)
