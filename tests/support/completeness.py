"""What was recorded, compared with the exchange's truth."""

from consumer.dataset.audit import SeriesAudit, audit
from consumer.dataset.dataset import Dataset
from shared.errors import StoreError
from shared.settings.model import Settings


def audits(settings: Settings, end_ms: int | None) -> list[SeriesAudit]:
    """Every series that is known by now, audited up to a time."""
    try:
        dataset = Dataset.in_folder(settings.data.folder)
        return audit(dataset, dataset.matching(None, (), None), None, end_ms, settings.repair)
    except StoreError:
        return []


def is_complete(settings: Settings, series: int, end_ms: int) -> bool:
    """Whether so many series are known, or more, and nothing is missing of any of them up to a time."""
    found = audits(settings, end_ms)
    return len(found) >= series and all(audit.is_good for audit in found)
