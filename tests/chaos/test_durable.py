"""What strace wrote is read as it was meant, and an acknowledgement before a sync is found."""

from pathlib import Path

import pytest

from chaos.crashes.durable import unsynced
from chaos.crashes.strace import Call, calls

DATA = Path("/data")
FLUSH = [
    'mkdir("/data/candles/market=spot", 0777) = 0',
    'openat(AT_FDCWD</run>, "/data/candles", O_RDONLY|O_CLOEXEC|O_DIRECTORY) = 10</data/candles>',
    "fsync(10</data/candles>) = 0",
    'openat(AT_FDCWD</run>, "/data/staging/writer-1/0.parquet", O_WRONLY|O_CREAT|O_EXCL, 0644) = 6</data/staging/…>',
    r'write(6</data/staging/writer-1/0.parquet>, "PAR1\25\0"..., 3816) = 3816',
    "fsync(6</data/staging/writer-1/0.parquet>) = 0",
    'renameat(AT_FDCWD</run>, "/data/staging/writer-1/0.parquet", 5</data/candles/market=spot>, "2024.parquet") = 0',
    "fsync(5</data/candles/market=spot>) = 0",
    r'write(6</data/staging/writer-1/1.json>, "{\n"..., 241) = 241',
    "fsync(6</data/staging/writer-1/1.json>) = 0",
    'rename("/data/staging/writer-1/1.json", "/data/ledger/market=spot.json") = 0',
    "fsync(6</data/ledger>) = 0",
    r'sendto(4<socket:[7]>, "*4\r\n$4\r\nXACK\r\n$11\r\n"..., 90, 0, NULL, 0) = 90',
]


def traced(lines: list[str], tmp_path: Path) -> list[Call]:
    log = tmp_path / "strace.log"
    log.write_text("".join(f"4437  {line}\n" for line in lines))
    return calls(log)


def test_a_flush_that_syncs_everything_leaves_nothing_to_a_power_cut(tmp_path: Path) -> None:
    assert unsynced(traced(FLUSH, tmp_path), DATA) == []


@pytest.mark.parametrize(
    ("left_out", "at_risk"),
    [
        (2, ["candles/market=spot"]),
        (5, ["candles/market=spot/2024.parquet"]),
        (7, ["candles/market=spot/2024.parquet"]),
        (9, ["ledger/market=spot.json"]),
        (11, ["ledger/market=spot.json"]),
    ],
)
def test_a_sync_that_is_left_out_or_fails_is_found(left_out: int, at_risk: list[str], tmp_path: Path) -> None:
    without = FLUSH[:left_out] + FLUSH[left_out + 1 :]
    assert unsynced(traced(without, tmp_path), DATA) == at_risk
    failed = [*FLUSH]
    failed[left_out] = failed[left_out].replace("= 0", "= -1 EIO (Input/output error) (INJECTED)")
    assert unsynced(traced(failed, tmp_path), DATA) == at_risk


def test_a_sync_after_the_acknowledgement_is_too_late(tmp_path: Path) -> None:
    late = [*FLUSH[:7], *FLUSH[8:], FLUSH[7]]
    assert unsynced(traced(late, tmp_path), DATA) == ["candles/market=spot/2024.parquet"]


def test_what_a_dead_process_left_unsynced_may_be_synced_by_its_successor(tmp_path: Path) -> None:
    dead = traced(FLUSH[:7], tmp_path)
    assert unsynced(dead + traced(FLUSH[7:], tmp_path), DATA) == []
    assert unsynced(dead + traced(FLUSH[8:], tmp_path), DATA) == ["candles/market=spot/2024.parquet"]


def test_a_call_that_others_interrupt_in_the_log_is_put_together(tmp_path: Path) -> None:
    log = tmp_path / "strace.log"
    log.write_text(
        "7 fsync(5</data/candles> <unfinished ...>\n"
        "8 fsync(6</data/ledger>) = 0\n"
        "7 <... fsync resumed>) = 0 (DELAYED)\n"
        "7 fsync(5</data/candles>) = ?\n"
        "7 +++ killed by SIGKILL +++\n"
    )
    found = calls(log)
    assert [(call.number, call.has_run) for call in found] == [(1, True), (1, True), (2, False)]
