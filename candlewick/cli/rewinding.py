"""``replay --group``: let a consumer group read once more what a stream retains from a time on."""

import sys
from pathlib import Path
from typing import Any

import typer

from candlewick.cli import options
from shared.errors import CandlewickError
from shared.interval import utc
from shared.market import Market
from shared.text import counted


def rewind(
    group: str,
    market: Market | None,
    start_ms: int | None,
    config: Path | None,
    data: Path | None,
    broker: str | None,
    *,
    dry_run: bool,
    yes: bool,
) -> None:
    """Move a group in each market's stream to before the first candle that opens at ``start_ms`` or later.

    A writer that runs reads on from there; what is stored already changes no file. Entries that are pending stay so.
    """
    from consumer.group.rewind import Moved, plan

    if start_ms is None:
        raise CandlewickError("--group needs --from TIME: where to read on from")
    with options.broker_connection(config, data, broker) as (client, keys):
        found: list[Moved] = plan(client, keys, Market if market is None else (market,), group, start_ms)
        if not found:
            raise CandlewickError(f"no stream has a group {group!r}")
        moves = [move for move in found if move.again]
        if not moves:
            print(f"{group} stands there already")
            return
        for move in moves:
            what = f"{move.market}: {group} from {utc(move.was_ms):%Y-%m-%d %H:%M:%S} "
            what += f"{'back' if move.again > 0 else 'forward'} to {utc(move.to_ms):%Y-%m-%d %H:%M:%S}"
            verb = "read again" if move.again > 0 else "never read"
            print(f"{what} (the broker's clock): {counted(abs(move.again), 'entry', 'entries')} {verb}")
        if dry_run:
            return
        if not yes and not (sys.stdin.isatty() and typer.confirm("Move it?")):
            raise CandlewickError("nothing was moved: --yes moves without a question")
        untyped: Any = client
        for move in moves:
            untyped.xgroup_setid(keys.candles(move.market), group, move.to)
    print("moved")
