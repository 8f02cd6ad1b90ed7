"""Two places of the object store's crash matrix. All of it: ``python -m chaos crashes --objects``."""

from pathlib import Path

import pytest

from chaos.crashes.request_trial import Request, RequestFault, RequestTrial
from chaos.crashes.scenario import FIRST
from chaos.s3 import S3
from consumer.storage.layout import candles_key

WRITE = Request("PUT", candles_key(FIRST, "2024-06-30.parquet"), 0)


@pytest.mark.parametrize("fault", [RequestFault.KILLED_AFTER, RequestFault.LOST])
def test_a_fault_at_a_partition_s_write_loses_and_doubles_nothing(
    fault: RequestFault, valkey_url: str, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    trial = RequestTrial(valkey_url, tmp_path, s3)
    outcome = trial.run(fault, WRITE)
    assert outcome.is_good, outcome
    written = [request for request in trial.requests if request.key == WRITE.key and request.method == "PUT"]
    assert len(written) == (1 if fault.kills else 2), "a write whose answer was lost is tried again"


def test_a_row_that_is_lost_on_the_way_is_seen_by_a_trial(
    valkey_url: str, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer is never given one of the candles: the trial must not end with zeros."""
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    publish = RequestTrial._publish
    monkeypatch.setattr(RequestTrial, "_publish", lambda self, items: publish(self, items[1:]))
    assert RequestTrial(valkey_url, tmp_path, s3).run().lost == 1
