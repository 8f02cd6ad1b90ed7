"""Reads recorded exchangeInfo bodies, as the exchange once sent them: ``<market>.json`` or ``<market>.json.gz``."""

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from shared.errors import SettingsError
from shared.market import Market
from simulator.market.frames import status_field


def read_exchange_info(folder: Path) -> Mapping[Market, Mapping[str, Any]]:
    """The body of each market that has a file.

    Raises:
        SettingsError: when the folder holds no such file, or naming the one that cannot be read.
    """
    found = {}
    for market in Market:
        for path in (folder / f"{market}.json", folder / f"{market}.json.gz"):
            if path.is_file():
                found[market] = _read_body(market, path)
    if not found:
        raise SettingsError(f"{folder} holds no exchangeInfo: files are named MARKET.json or MARKET.json.gz")
    return found


def _read_body(market: Market, path: Path) -> Mapping[str, Any]:
    try:
        raw = path.read_bytes()
        body: Mapping[str, Any] = orjson.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
        for info in body["symbols"]:
            info["symbol"], info[status_field(market)]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} cannot be read as an exchangeInfo body: {error!r}") from None
    return body
