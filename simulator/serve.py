"""The simulated exchange as a process: it tells its address, serves, and leaves in order."""

import asyncio
import logging
import signal

from shared.process.tasks import Tasks
from simulator import ADDRESS_LINE
from simulator.server.simulator import Simulator

log = logging.getLogger(__name__)


async def serve(exchange: Simulator, *, exit_at_end: bool) -> None:
    """Serve until SIGTERM or Ctrl-C, or until the data ends if ``exit_at_end``."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with exchange as simulator:
        print(f"{ADDRESS_LINE}{simulator.address}", flush=True)
        async with Tasks() as waits:
            waits.start(stop.wait())
            if exit_at_end:
                waits.start(simulator.feed.ended.wait())
            await asyncio.wait(waits.running, return_when=asyncio.FIRST_COMPLETED)
            await waits.cancel()
        if not stop.is_set():
            await asyncio.sleep(1)  # what was pushed last is still on its way
        log.info("%d candles closed, %d connections accepted", simulator.feed.closed, simulator.accepted)
