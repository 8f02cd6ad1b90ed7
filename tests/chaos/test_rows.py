"""What judges a run finds what is wrong: without that its zeros would say nothing."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chaos.crashes.rows import Compared, Onlooker, Row, compare, true_row
from chaos.crashes.scenario import FIRST, SERIES, history, store_history
from consumer.storage.layout import series_folder
from shared.settings.model import Settings

TRUTH = [true_row(candle) for candle in history()]
IN_A_FILE = len(TRUTH) // 2


@pytest.fixture
def root(make_settings: Callable[..., Settings]) -> Path:
    """A dataset that holds the truth."""
    settings = make_settings()
    store_history(settings, history())
    return settings.candles_folder


def partition(root: Path) -> Path:
    return next((root / series_folder(FIRST)).iterdir())


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.ParquetFile(path).read()), path)


def lose_a_row(path: Path) -> None:
    rewrite(path, lambda table: table.slice(1))


def double_a_row(path: Path) -> None:
    rewrite(path, lambda table: pa.concat_tables([table.slice(0, 1), table]))


def double_a_file(path: Path) -> None:
    path.with_name("2024-06.parquet").write_bytes(path.read_bytes())


def change_a_value(path: Path) -> None:
    def change(table: pa.Table) -> pa.Table:
        opens = table.column("open").to_pylist()
        return table.set_column(table.schema.get_field_index("open"), table.schema.field("open"), [[1.0, *opens[1:]]])

    rewrite(path, change)


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def turn_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 0xFF
    path.write_bytes(content)


def reverse(path: Path) -> None:
    rewrite(path, lambda table: table.take(list(reversed(range(len(table))))))


def test_a_dataset_that_holds_the_truth_differs_in_nothing(root: Path) -> None:
    assert compare(root, TRUTH) == Compared()


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (Path.unlink, Compared(lost=IN_A_FILE)),
        (lose_a_row, Compared(lost=1)),
        (double_a_row, Compared(doubled=1)),
        (double_a_file, Compared(doubled=IN_A_FILE)),
        (change_a_value, Compared(lost=1, doubled=1)),
        (tear, Compared(lost=IN_A_FILE, unreadable=1)),
        (turn_a_byte, Compared(lost=IN_A_FILE, unreadable=1)),
        (reverse, Compared(unreadable=1)),
    ],
)
def test_what_is_lost_doubled_changed_or_torn_is_counted(
    root: Path, damage: Callable[[Path], None], found: Compared
) -> None:
    damage(partition(root))
    assert compare(root, TRUTH) == found


def test_a_row_that_nobody_published_is_one_too_many(root: Path) -> None:
    assert compare(root, TRUTH[1:]) == Compared(doubled=1)


def watched(root: Path, truth: list[Row]) -> Onlooker:
    """An onlooker that has looked at least once, and looks again when it is polled."""
    with Onlooker(root, SERIES, truth) as onlooker:
        pass
    assert onlooker.seen.polls >= 1
    return onlooker


def test_a_reader_of_the_truth_sees_nothing_wrong(root: Path) -> None:
    onlooker = watched(root, TRUTH)
    onlooker.poll()
    assert (onlooker.seen.errors, onlooker.seen.clean, onlooker.seen.first) == (0, 0, "")


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lose_a_row, "missing"),
        (double_a_row, "doubled"),
        (double_a_file, "doubled"),
        (change_a_value, "wrong"),
        (tear, "torn"),
    ],
)
def test_a_reader_tells_what_went_missing_or_wrong_between_two_looks(
    root: Path, damage: Callable[[Path], None], what: str
) -> None:
    onlooker = watched(root, TRUTH)
    assert onlooker.seen.errors == 0
    damage(partition(root))
    onlooker.poll()
    assert getattr(onlooker.seen, what) >= 1
    assert onlooker.seen.first


def test_a_dataset_that_is_gone_for_a_moment_is_a_clean_error(root: Path) -> None:
    onlooker = watched(root, TRUTH)
    root.rename(root.with_name("away"))
    onlooker.poll()
    root.with_name("away").rename(root)
    onlooker.poll()
    assert (onlooker.seen.clean, onlooker.seen.errors) == (1, 0)
