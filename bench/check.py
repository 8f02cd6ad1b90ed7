"""Whether something has become slower than what is kept (``bench.ratios``), told in lines for people."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from bench.ratios import TOLERANCE, Ratios, least, slower


class Verdict(NamedTuple):
    """What to print, and whether something is slower."""

    lines: list[str]
    is_slower: bool


def check(kept: Mapping[str, Ratios], measured: Mapping[str, Ratios], again: Callable[[str], Ratios]) -> Verdict:
    """Compare what was measured, by benchmark.

    One that seems slower is measured ``again``, and the better run counts.
    """
    lines, worse, count = list[str](), list[str](), 0
    for name, now in measured.items():
        before = kept.get(name, {})
        count += len(before.keys() & now.keys())
        lines += [f"not measured any more: {line}" for line in sorted(before.keys() - now.keys())]
        lines += [f"not kept yet: {line}" for line in sorted(now.keys() - before.keys())]
        if slower(before, now):
            worse += map(str, slower(before, least(now, again(name))))
    if not worse:
        lines.append(f"none of {count} ratios is more than {TOLERANCE - 1:.0%} above what is kept")
    return Verdict(lines + worse, bool(worse))
