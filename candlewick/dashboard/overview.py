"""What the page shows of the pipeline: its state every two seconds, and its last hour.

One look serves all pages. While nobody looks at a page it is only every ten seconds, for the last hour's plots.
"""

import asyncio
import contextlib
import logging
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from candlewick.checks.health import State
from candlewick.checks.state import collect
from candlewick.dashboard.audience import Audience
from candlewick.dashboard.stored import StoredSeries
from candlewick.dashboard.trends import Trends
from shared.settings.model import Settings

log = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0
_IDLE_SECONDS = 10.0


class Overview:
    """The newest state and plots, for any number of pages.

    Attributes:
        state: ``candlewick.checks.state.collect``'s answer, with ``store``; None before the first look.
        plots: ``Trends.plots``.
        is_broker_away: whether it did not answer when it was last asked; whoever hears it meanwhile says so.
    """

    def __init__(self, settings: Settings, stored: StoredSeries, audience: Audience) -> None:
        self.state: dict[str, Any] | None = None
        self.plots: dict[str, Any] = {}
        self.is_broker_away = False
        self._settings = settings
        self._stored = stored
        self._audience = audience
        self._trends = Trends()
        self._changed = asyncio.Condition()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="overview")

    async def run(self) -> None:
        """Look for ever."""
        while True:
            found = await asyncio.get_running_loop().run_in_executor(self._thread, self._look)
            async with self._changed:
                self.state, self.is_broker_away = found, bool(found["broker"].get("error"))
                self._changed.notify_all()
            if self._audience.is_here.is_set():
                await asyncio.sleep(_LOOK_SECONDS)
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._audience.is_here.wait(), _IDLE_SECONDS)

    async def change(self) -> None:
        """Wait for the next look."""
        async with self._changed:
            await self._changed.wait()

    def _look(self) -> dict[str, Any]:
        try:
            found = collect(self._settings, with_store=False)
            found["store"] = self._stored.totals | {"free": _free(self._settings)}
            health = found["health"]
            if self._stored.trouble:
                health["reasons"] = [*health["reasons"], self._stored.trouble]
                health["state"] = State.DEGRADED if health["state"] == State.RECORDING else health["state"]
            if self._trends.note(found, time.time()):
                self.plots = self._trends.plots()
        except Exception as error:
            log.exception("an internal error while looking")
            text = f"the dashboard cannot look: {error!r}"
            found = {"health": {"state": "dead", "reasons": [text]}, "broker": {}, "markets": {}, "writers": []}
        return found | {"as_of_ms": time.time_ns() // 1_000_000}


def _free(settings: Settings) -> int | None:
    folder = settings.data.folder
    return shutil.disk_usage(folder).free if folder.is_dir() else None
