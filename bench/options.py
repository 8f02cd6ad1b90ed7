"""How long and how large a benchmark is, by the environment: ``BENCH_MINUTES=2 BENCH_SHARE=0.1 python -m bench …``."""

import os


def minutes(default: int) -> int:
    """Whole minutes that are measured: ``BENCH_MINUTES``, from 1."""
    return max(1, int(os.environ.get("BENCH_MINUTES", str(default))))


def share() -> float:
    """The part of a whole market's symbols that is recorded: ``BENCH_SHARE``, above 0 and up to 1."""
    return min(1.0, float(os.environ.get("BENCH_SHARE", "1")))
