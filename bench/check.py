"""Whether something has become slower than what is kept (``bench.ratios``), told in lines for people."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from bench.ratios import RUNS, TOLERANCE, Costs, Ratios, Slower, least, ratios_of, slower


class Verdict(NamedTuple):
    """What to print, and whether something is slower."""

    lines: list[str]
    is_slower: bool


def check(kept: Mapping[str, Ratios], measured: Mapping[str, Costs], again: Callable[[str], Costs]) -> Verdict:
    """Compare what was measured, by benchmark, with what is kept. What seems slower is measured ``again``."""
    lines, worse, count = list[str](), list[str](), 0
    for name, costs in measured.items():
        before = kept.get(name, {})
        count += len(before.keys() & costs.keys())
        lines += [f"not measured any more: {line}" for line in sorted(before.keys() - costs.keys())]
        lines += [f"not kept yet: {line}" for line in sorted(costs.keys() - before.keys())]
        worse += map(str, _slower(before, costs, partial(again, name)))
    if not worse:
        lines.append(f"none of {count} ratios is more than {100 * (TOLERANCE - 1):.0f} % above what is kept")
    return Verdict(lines + worse, bool(worse))


def _slower(kept: Ratios, costs: Costs, again: Callable[[], Costs]) -> list[Slower]:
    """What stays slower, run after run."""
    for _ in range(RUNS - 1):
        if not slower(kept, ratios_of(costs)):
            return []
        costs = least(costs, again())
    return slower(kept, ratios_of(costs))
