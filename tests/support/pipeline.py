"""The whole pipeline on the simulated exchange."""

import json
import subprocess
from pathlib import Path
from typing import Any

import psutil

from consumer.dataset.dataset import Dataset
from consumer.storage.layout import series_folder
from consumer.storage.table import EMPTY, Rows
from shared.broker.heartbeat import heartbeats
from shared.broker.keys import Keys
from shared.candle import Series
from shared.interval import Interval
from shared.market import Market

BASE = "2024-06-30T00:00"


GROUPS = [
    {"market": "spot", "symbols": ["BTCUSDT", "BNBUSDT"], "intervals": ["1m", "5m"]},
    {"market": "usdt_futures", "symbols": ["BTCUSDT", "币安人生USDT"], "intervals": ["1m"]},
    {"market": "coin_futures", "symbols": ["BTCUSD_PERP"], "intervals": ["3m"]},
]


def series_of(groups: list[dict[str, Any]]) -> list[Series]:
    return [
        Series(Market(group["market"]), symbol, Interval(interval))
        for group in groups
        for symbol in group["symbols"]
        for interval in group["intervals"]
    ]


def write_settings(tmp_path: Path, simulator: str, groups: list[dict[str, Any]], **more: dict[str, Any]) -> Path:
    sections: dict[str, dict[str, Any]] = {"exchange": {"simulator": simulator}, "writer": {"flush_seconds": 0.05}}
    sections |= more
    text = "".join(f"[[record]]\n{_toml(group)}" for group in groups)
    text += "".join(f"[{name}]\n{_toml(values)}" for name, values in sections.items())
    path = tmp_path / "candlewick.toml"
    path.write_text(text)
    return path


def _toml(values: dict[str, Any]) -> str:
    return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items())


def rows(root: Path, series: Series) -> Rows:
    return Dataset.in_folder(root.parent).rows(series) if (root / series_folder(series)).is_dir() else EMPTY


def lives(client: Any, keys: Keys, process: "subprocess.Popen[bytes]") -> bool:
    """Whether a process has begun its work: from then on it leaves in good order when it is asked to."""
    return any(name.endswith(f"-{process.pid}") for _, name in heartbeats(client, keys))


def psutil_family(tmp_path: Path, word: str) -> list[psutil.Process]:
    """Living processes of ours that work in the test's folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        try:
            if word in (process.info["cmdline"] or ()) and process.cwd() == str(tmp_path):
                found.append(process)
        except psutil.Error:
            continue
    return found
