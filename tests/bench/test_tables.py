"""Tables, and percentiles."""

import io

from rich.console import Console

from bench.result import Contestant, Line, Percentiles, Result, Spread, Usage
from bench.tables import tables


def shown(*lines: Line) -> str:
    text = io.StringIO()
    for table in tables(lines):
        Console(width=100, file=text).print(table)
    return text.getvalue()


def test_half_of_all_are_below_the_median_and_none_above_the_most() -> None:
    assert Percentiles.of(range(101)) == Percentiles(50, 99, 100)
    assert Percentiles.of([]) is None


def test_each_kind_of_line_has_a_table_of_its_own_with_its_columns_whole_at_100_characters() -> None:
    text = shown(
        Result("publishing to Redis", "µs a candle", 26, 20, 52, aim=1.3),
        Spread("published to on disk", Percentiles(1489.4, 1622, 1700), Percentiles(1676, 1676, 1701)),
        Spread("a step that was not seen", None),
        Usage("writer", 8.67, 15.2, 156, 101),
        Usage("all else on this machine", 41.2),
        Contestant("ccxt 4.5", (40.0, 50.0), (8.0, 10.0)),
    )
    rows = [" ".join(line.split()) for line in text.splitlines() if "│" in line]
    assert rows == [
        "│ publishing to Redis │ µs a candle │ 26.00 │ 20.00 │ 52.00 │ 1.30 │ 1.30 │ 2.00 │",
        "│ published to on disk │ 1,489 │ 1,622 │ 1,700 │ 1,676 │ 1,676 │ 1,701 │",
        "│ a step that was not seen │ │ │ │ │ │ │",
        "│ writer │ 8.67 │ 15.20 │ 156 │ 101 │",
        "│ all else on this machine │ 41.20 │ │ │ │",
        "│ ccxt 4.5 │ 25,000 │ 5.00 │ 20,000 │ 5.00 │",
    ]
    assert "…" not in text


def test_there_is_no_table_of_lines_that_there_are_none_of() -> None:
    assert len(list(tables([Usage("writer", 1.0)]))) == 1
