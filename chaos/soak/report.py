"""A soak's report, as Markdown. Pure: what it says is what it is given."""

import time
from collections.abc import Iterable, Iterator, Sequence

from chaos.soak.bounds import JUDGED_HOURS, bound_mb
from chaos.soak.kinds import ordinary_week
from chaos.soak.lateness import share_of_calm
from chaos.soak.plan import WEEK_HOURS
from chaos.soak.run import Soaked
from chaos.soak.schedule import weeks_of
from chaos.soak.usage import Usage, edge_seconds
from chaos.whole.truth import candles_of
from shared.metrics.measures import CLOSE_TO_DISK_SECONDS, quantile

ZEROS = ("missing", "doubled", "different", "extra")
_DAY_SECONDS = 86_400
_WAYS = {"websocket": "close to broker, over WebSocket", "fetched": "close to broker, fetched over REST"}
_NAMES = {False: "nothing broken", True: "something broken, or a moment ago"}


def report(soaked: Soaked, found: Sequence[Usage], troubles: Sequence[str]) -> str:
    """All of it."""
    parts = (_head(soaked), _result(soaked, troubles), _faults(soaked), _processes(soaked, found), _lateness(soaked))
    return "\n".join(line for part in parts for line in part) + "\n"


def _head(soaked: Soaked) -> Iterator[str]:
    plan, hours = soaked.plan, soaked.seconds / 3600
    weeks = weeks_of(ordinary_week(plan.speed), plan.seconds, plan.densest_seconds)
    yield f"## A soak of {hours:.2f} hours"
    yield ""
    early = f", ended early: {plan.hours:g} hours were asked for" if hours < 0.99 * plan.hours else ""
    yield (
        f"{time.strftime('%Y-%m-%d', time.gmtime(soaked.begun))}, seed {plan.seed}, {soaked.series} series "
        f"({plan.symbols} symbols over three markets at three intervals), speed {plan.speed:g}{early}."
    )
    if plan.hours < WEEK_HOURS:
        yield (
            f"The faults of {weeks:.2f} ordinary weeks are compressed into {plan.hours:g} hours: "
            f"{WEEK_HOURS * weeks / plan.hours:.0f} times as dense as in an ordinary week. All else is at its own pace."
        )
    else:
        yield f"The faults of {weeks:.2f} ordinary weeks, as often as they happen in an ordinary week."
    yield ""
    yield "; ".join(f"{name}: {value}" for name, value in soaked.machine.items()) + "."
    yield ""


def _result(soaked: Soaked, troubles: Sequence[str]) -> Iterator[str]:
    differences = soaked.outcome.differences
    yield from _table(
        ("candles", "count"),
        [
            ("compared with the exchange's", f"{candles_of(differences, 'compared'):,}"),
            *((name, f"{candles_of(differences, name):,}") for name in ZEROS),
            ("absent at the exchange, and noted so", f"{soaked.outcome.absent:,}"),
        ],
    )
    yield f"{len(differences)} series were compared. " + ("Nothing is wrong." if not troubles else "**FAILED**:")
    yield ""
    yield from (f"- {trouble}" for trouble in troubles)
    if troubles:
        yield ""


def _faults(soaked: Soaked) -> Iterator[str]:
    rates = {kind.name: kind.per_week for kind in ordinary_week(soaked.plan.speed)}
    happened = soaked.outcome.survived
    planned = soaked.planned
    rows = [(name, f"{rate:g}", f"{planned[name]:,}", f"{happened[name]:,}") for name, rate in rates.items()]
    total = ("all", f"{sum(rates.values()):g}", f"{planned.total():,}", f"{happened.total():,}")
    yield from _table(("fault", "in an ordinary week", "drawn", "happened"), [*rows, total])
    yield "Beside them, single frames and REST calls, as the exchange has counted them:"
    yield ""
    counted = sorted(soaked.outcome.at_the_exchange.items(), key=lambda item: -item[1])
    yield from _table(("at the exchange", "times"), [(f"`{name}`", f"{count:,}") for name, count in counted])


def _processes(soaked: Soaked, found: Sequence[Usage]) -> Iterator[str]:
    minutes = edge_seconds(soaked.seconds) / 60
    rows_an_hour = published_an_hour(soaked)
    yield from _table(
        (
            "process",
            "lives",
            f"memory, first {minutes:.0f} min",
            f"last {minutes:.0f} min",
            "most",
            "most resident",
            "growth an hour (bound)",
            "file descriptors, first, last, most",
            "threads",
            "of a core",
            "log a day",
        ),
        [
            (
                usage.process,
                f"{usage.lives}",
                _mb(usage.first_memory_mb),
                _mb(usage.last_memory_mb),
                _mb(usage.max_memory_mb),
                _mb(usage.max_resident_mb),
                _growth(usage, rows_an_hour),
                f"{_or_none(usage.first_fds)}, {_or_none(usage.last_fds)}, {usage.max_fds}",
                f"{usage.max_threads}",
                f"{100 * usage.cpu_share(soaked.seconds):.1f} %",
                _log_a_day(soaked, usage.process),
            )
            for usage in found
        ],
    )
    yield "Memory is what a process shares with nobody, in MB of a million bytes; resident is all of it."
    yield (
        f"Growth is judged where a process was watched for {JUDGED_HOURS:g} hours after its first ten minutes, and "
        "only told otherwise. `exchange` is the simulated one and `soak` the tool: both are told, not judged."
    )
    yield ""


def _growth(usage: Usage, rows_an_hour: float) -> str:
    slope = usage.memory.per_hour
    if slope is None:
        return "too short"
    judged = "" if usage.memory.hours >= JUDGED_HOURS else ", not judged"
    return f"{slope:+.2f} MB ({bound_mb(usage.process, rows_an_hour):.2f}{judged})"


def _log_a_day(soaked: Soaked, process: str) -> str:
    name = "simulator" if process == "exchange" else process
    return f"{soaked.log_bytes[name] / soaked.seconds * _DAY_SECONDS / 1e6:.2f} MB"


def published_an_hour(soaked: Soaked) -> float:
    """Candles that were published in an hour, in the mean."""
    return soaked.to_broker.entries / (soaked.seconds / 3600)


def _lateness(soaked: Soaked) -> Iterator[str]:
    rows = []
    for source, way in _WAYS.items():
        for was_broken, when in _NAMES.items():
            spread = soaked.to_broker.spreads.get((source, was_broken))
            if spread is not None:
                figures = (*(spread.quantile(share) for share in (0.5, 0.99)), spread.greatest)
                rows.append((way, when, f"{spread.count:,}", *(_seconds(figure) for figure in figures)))
    for was_broken, when in _NAMES.items():
        counts: list[int] = soaked.to_disk.counts.get(was_broken, [])
        if sum(counts):
            shares = (quantile(CLOSE_TO_DISK_SECONDS, counts, share) for share in (0.5, 0.99))
            figures_on_disk = (*(_seconds(figure) for figure in shares), _highest(counts))
            rows.append(("close to disk, over WebSocket", when, f"{sum(counts):,}", *figures_on_disk))
    yield from _table(("candles", "while", "count", "p50", "p99", "most"), rows)
    yield (
        f"{100 * share_of_calm(soaked.to_broker.spreads):.0f} % of the candles closed and were published while nothing "
        "was broken. The exchange itself sends a closing frame 20 to 300 ms after the close, and a few seconds late or "
        "never as often as said above. To disk, the writer's own steps are all that is known."
    )


def _highest(counts: Sequence[int]) -> str:
    last = max(step for step, count in enumerate(counts) if count)
    bounds = CLOSE_TO_DISK_SECONDS
    return f"at most {bounds[last]:g} s" if last < len(bounds) else f"over {bounds[-1]:g} s"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} s"


def _mb(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _or_none(value: int | None) -> str:
    return "–" if value is None else str(value)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""
