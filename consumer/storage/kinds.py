"""Which kind of storage the settings ask for: a folder, or an object store by URL."""

from consumer.storage.durable import Staging
from consumer.storage.interface import Storage
from consumer.storage.local import LocalStorage
from shared.errors import StoreError
from shared.settings.model import Settings


def open_storage(settings: Settings, staging: Staging | None = None, lock_timeout_seconds: float = 1.0) -> Storage:
    """The storage of these settings; whoever writes to a folder needs ``staging``.

    StoreError when the URL cannot be used, or the extra that object stores need is not installed.
    """
    if not settings.data.store:
        return LocalStorage(settings.data.folder, staging, lock_timeout_seconds)
    try:
        from consumer.storage.object_store import ObjectStorage
    except ImportError as error:
        raise StoreError(f"data.store needs `pip install 'candlewick[object-store]'`: {error}") from None
    return ObjectStorage(settings.data.store)
