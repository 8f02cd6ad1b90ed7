"""Faults that only a soak has: of a whole host, of single connections, and spells of the exchange's own faults."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import httpx

from chaos.soak.plan import ALWAYS
from chaos.whole.strikes import Span, Strike, single

if TYPE_CHECKING:
    from chaos.whole.faults import Faults

_TIMEOUT_SECONDS = 10
_TRIES, _AGAIN_SECONDS = 5, 5.0


def on_exchange(strike: Strike) -> Strike:
    """A strike by the exchange's control endpoint, which answers nothing while the exchange stalls."""

    def checked(faults: "Faults") -> bool:
        return not faults.pipeline.exchange.is_stopped and strike(faults)

    return checked


def mishap(name: str) -> Strike:
    """One of the exchange's mishaps happens to a random connection or channel, now."""

    def strike(faults: "Faults") -> bool:
        address = f"{faults.pipeline.address}/control/mishap"
        answer = httpx.post(address, json={"name": name}, timeout=_TIMEOUT_SECONDS)
        answer.raise_for_status()
        return bool(answer.json()["happened"])

    return strike


def lasting(strike: Strike, seconds: float) -> Strike:
    """A strike that has an effect for so long, though nothing has to be mended."""

    def lasts(faults: "Faults") -> bool:
        if not strike(faults):
            return False
        faults.later(seconds, lambda: None)
        return True

    return lasts


def exchange_faults(changes: Mapping[str, float], span: Span) -> Strike:
    """The exchange has these faults for so long, and then as often as always."""
    usual = {name: ALWAYS.get(name, 0.0) for name in changes}

    def strike(faults: "Faults") -> bool:
        pipeline = faults.pipeline
        pipeline.ask_exchange("PATCH", "faults", changes)

        def mend(tries: int = _TRIES) -> None:
            pipeline.exchange.wake()  # it could not answer while it stalls
            try:
                pipeline.ask_exchange("PATCH", "faults", usual)
            except httpx.HTTPError:
                if tries == 1:
                    raise
                faults.later(_AGAIN_SECONDS, lambda: mend(tries - 1))

        faults.later(faults.rng.uniform(*span), mend)
        return True

    return on_exchange(strike)


def stall_exchange(span: Span) -> Strike:
    """The exchange says nothing on any connection, then all at once: its process is stopped, its time is not."""

    def strike(faults: "Faults") -> bool:
        exchange = faults.pipeline.exchange
        if exchange.is_stopped:
            return False
        exchange.stop()
        faults.later(faults.rng.uniform(*span), exchange.wake)
        return True

    return strike


def cut_line(faults: "Faults") -> bool:
    """Every connection to the broker ends, at once or in the middle of a reply."""
    broker = single(faults)
    if not broker.server.runs:
        return False
    broker.cut(faults.rng)
    return True


def freeze_host(span: Span) -> Strike:
    """All processes of the host are stopped together, as a host is that swaps or is moved."""

    def strike(faults: "Faults") -> bool:
        seconds = faults.rng.uniform(*span)
        running = [part for part in faults.pipeline.parts if part.runs and not part.is_stopped]
        for part in running:
            part.stop()
            faults.later(seconds, part.wake)
        return bool(running)

    return strike


def lose_power(span: Span) -> Strike:
    """All processes of the host die together, and begin again together."""

    def strike(faults: "Faults") -> bool:
        back_at = time.monotonic() + faults.rng.uniform(*span)
        for part in faults.pipeline.parts:
            part.wake()
            part.kill(back_at)
        return True

    return strike
