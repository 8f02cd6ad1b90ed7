"""The page's own files, read once: no request reaches for the disk, and none can name another file."""

import hashlib
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parent / "page"
CHART = "vendor/lightweight-charts.js"
INDEX = "index.html"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class PageFile(NamedTuple):
    """A file as it is served; ``tag`` tells its content from any other."""

    content: bytes
    content_type: str
    tag: str


def page_files(folder: Path = FOLDER) -> dict[str, PageFile]:
    """Every file of the page by its path below the folder; without ``CHART`` where the library was not built in."""
    found = {}
    for path in folder.rglob("*"):
        if path.suffix in _TYPES:
            content = path.read_bytes()
            tag = hashlib.sha256(content).hexdigest()[:32]
            found[path.relative_to(folder).as_posix()] = PageFile(content, _TYPES[path.suffix], tag)
    return found
