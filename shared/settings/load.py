"""Settings are read once, validated whole, frozen.

Sources, the first that names a value wins: command-line flags, environment (``CANDLEWICK_`` + section + ``_`` +
key, as in ``CANDLEWICK_BROKER_URL``; ``CANDLEWICK_RECORD`` takes JSON), the settings file (TOML), the defaults in
``shared.settings.model``. A mistake anywhere is one ``SettingsError`` that names the key and what is allowed.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from shared.errors import SettingsError
from shared.settings.model import ENV_PREFIX, Settings
from shared.settings.sections import RecordGroup, Section
from shared.settings.types import STORE_SCHEMES, without_secrets
from shared.text import without_passwords

DEFAULT_FILE = Path("candlewick.toml")
CONFIG_ENV = "CANDLEWICK_CONFIG"


def load_settings(file: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """The settings in force.

    Args:
        file: settings file; by default what ``CANDLEWICK_CONFIG`` names, else ``candlewick.toml`` in the working folder
            if there is one.
        flags: nested values from the command line, such as ``{"broker": {"url": "redis://…"}}``.

    Raises:
        SettingsError: one line that names the source, the key and what is allowed.
    """
    if file is None and os.environ.get(CONFIG_ENV):
        file = Path(os.environ[CONFIG_ENV])
    from_file = _read_toml(file or DEFAULT_FILE, must_exist=file is not None)
    _refuse_unknown_variables()
    try:
        return Settings(**{**(flags or {}), "_file": from_file})
    except ValidationError as error:
        raise SettingsError("; ".join(_describe(error))) from None
    except ValueError as error:  # pydantic-settings, for a variable that should hold JSON
        raise SettingsError(f"environment: {error} (lists and tables are given as JSON)") from None


def variables(*, with_former: bool = False) -> Iterable[str]:
    """Names of all environment variables that are settings, on request with their former names."""
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            for key in (*section.model_fields, *(section.former if with_former else ())):
                yield f"{ENV_PREFIX}{name}_{key}".upper()
        else:
            yield f"{ENV_PREFIX}{name}".upper()


def describe(settings: Settings) -> Iterable[tuple[str, str, str]]:
    """Every setting as its environment variable, its value and what it means. Secrets are not shown."""
    for name, field in Settings.model_fields.items():
        section = getattr(settings, name)
        if isinstance(section, Section):
            for key, inner in type(section).model_fields.items():
                value = getattr(section, key)
                shown = without_secrets(str(value)) if key == "url" else without_passwords(str(value))
                shown = f"{len(value)} addresses" if key == "urls" else shown  # with tokens in them
                yield f"{ENV_PREFIX}{name}_{key}".upper(), shown, inner.description or ""
        else:
            shown = f"{len(section)} groups" if isinstance(section, tuple) else str(section)
            yield f"{ENV_PREFIX}{name}".upper(), shown, field.description or ""


def _read_toml(file: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except FileNotFoundError:
        if must_exist:
            raise SettingsError(f"settings file {file} does not exist") from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"settings file {file} cannot be read: {error}") from None


def given_store(data: str | Path) -> dict[str, Any]:
    """The settings of a data folder, or of an object store, as somebody named it; ``Path`` makes one slash of two."""
    match = re.fullmatch(rf"({'|'.join(STORE_SCHEMES)}):/+(.*)", str(data))
    return {"folder": Path(data), "store": ""} if match is None else {"store": f"{match[1]}://{match[2]}"}


def _refuse_unknown_variables() -> None:
    known = {*variables(), CONFIG_ENV}
    accepted = known.union(variables(with_former=True))
    unknown = sorted(name for name in os.environ if name.startswith(ENV_PREFIX) and name not in accepted)
    if unknown:
        short = {name.removeprefix(ENV_PREFIX): name for name in [*variables(), CONFIG_ENV]}
        typed = unknown[0].removeprefix(ENV_PREFIX)
        near = [name for name in short if name.startswith(f"{typed}_")]  # a section's name: its first key
        near = near or get_close_matches(typed, short, n=1, cutoff=0.45)
        hint = f"did you mean {short[near[0]]}?" if near else "`candlewick settings` lists those that are"
        raise SettingsError(f"environment variable {unknown[0]} is not a setting; {hint}")


def _describe(error: ValidationError) -> Iterable[str]:
    details = error.errors(include_url=False)
    for detail in details:
        if any(detail["loc"] == other["loc"][: len(detail["loc"])] for other in details if other is not detail):
            continue  # a list is called too short when all its members were refused: they say it better
        key = ".".join(str(part) for part in detail["loc"])
        text = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        if detail["type"] == "missing":
            yield f"{key}: is missing"
        elif detail["type"] == "too_short":
            yield f"{key}: must name at least one"
        elif key == "record":
            yield "record: must be groups, each under [[record]] with market, symbols and intervals"
        elif detail["type"] == "tuple_type":
            yield f'{key}: must be a list, such as ["BTCUSDT"]'
        elif detail["type"] == "extra_forbidden":
            yield f"{key}: there is no such setting{_near(detail['loc'])}"
        elif not key:
            yield text
        elif key.startswith(("broker", "exchange.proxy")):
            yield f"{key}: {text}"  # the value may hold a password
        else:
            yield f"{key}: {without_passwords(repr(detail['input'])):.80} is not allowed, {text}"


def _near(location: tuple[int | str, ...]) -> str:
    section: Any = Settings
    for part in location[:-1]:
        if isinstance(part, int):
            section = RecordGroup
        elif part in section.model_fields and part != "record":
            section = section.model_fields[part].annotation
    names = (field.alias or name for name, field in section.model_fields.items())
    return f", allowed are {', '.join(names)}"
