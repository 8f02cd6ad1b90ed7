"""Which recording is meant: the settings of a data folder and of the broker that belongs to it."""

from pathlib import Path
from typing import Any

from shared.settings.load import given_store, load_settings
from shared.settings.model import Settings


def _is_of(settings: Settings, given: dict[str, Any]) -> bool:
    """Whether what was named is the settings' own."""
    if given["store"]:
        return bool(given["store"].rstrip("/") == settings.data.store)
    return not settings.data.store and given["folder"].resolve() == settings.data.folder.resolve()


def recording_settings(
    data: str | Path | None = None, broker: str | None = None, config: str | Path | None = None
) -> Settings:
    """The settings of a recording.

    The settings' broker belongs to the settings' data folder. Another folder has its embedded one, unless ``broker``
    names one; an empty text means the embedded one.

    Raises:
        SettingsError: when the settings cannot be read.
    """
    file = None if config is None else Path(config)
    settings, changes = load_settings(file), dict[str, dict[str, Any]]()
    if data is not None:
        changes["data"] = given_store(data)
    if broker is not None or (data is not None and not _is_of(settings, changes["data"])):
        changes["broker"] = {"url": broker or ""}
    return load_settings(file, changes)
