"""``candlewick compact``: every closed month of the chosen series, joined."""

import shutil
import time
from pathlib import Path

from consumer.dataset.compact import closed_months, join_month
from consumer.storage.durable import Staging
from consumer.storage.layout import series_of_folder
from consumer.storage.store import Store
from shared.errors import StoreError
from shared.interval import Interval
from shared.market import Market
from shared.settings.model import Settings

_ASIDE_SECONDS = 1.0  # for readers that were listing a folder when it was put aside


def compact_all(
    settings: Settings, market: Market | None, symbol: str | None, interval: Interval | None
) -> tuple[int, int]:
    """Join what is over, of all series or of those that are named.

    Returns:
        How many small files were joined, into how many months.

    Raises:
        StoreError: when a file is damaged, a series stays locked, or folders cannot be swapped here. Months that were
            joined before stay joined.
    """
    root = settings.candles_folder.absolute()
    if not root.is_dir():
        raise StoreError(f"nothing was recorded: there is no {settings.candles_folder}")
    staging = Staging(settings.staging_folder.absolute())
    store = Store(root, staging, settings.writer.lock_timeout_seconds, cache_bytes=0)
    files, aside = 0, list[Path]()
    try:
        for path in sorted(root.glob("market=*/interval=*/symbol=*")):
            series = series_of_folder(path.relative_to(root).as_posix())
            if series is None or market not in (None, series.market):
                continue
            if symbol not in (None, series.symbol) or interval not in (None, series.interval):
                continue
            for month in closed_months(store, series):
                joined, old = join_month(store, series, month)
                files += joined
                aside += [old] if old else []
    except OSError as error:
        raise StoreError(f"months cannot be joined here: {error}") from error
    finally:
        if aside:
            time.sleep(_ASIDE_SECONDS)
        for old in aside:
            shutil.rmtree(old, ignore_errors=True)
        staging.close()
    return files, len(aside)
