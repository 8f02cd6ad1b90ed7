"""Files of the archive, made for tests."""

import hashlib
import io
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path

from candlewick.backfill.archive_format import ArchiveFile
from shared.candle import Series
from tests.support.candles import MINUTE


def lines(series: Series, begin_ms: int, end_ms: int, unit: int = 1, without: Collection[int] = ()) -> list[str]:
    """Lines of every candle of a series between two times, but for those that are ``without``."""
    found, at = [], begin_ms
    while at < end_ms:
        end = series.interval.end(at)
        if at not in without:
            found.append(line(at, end - at, unit))
        at = end
    return found


def zipped(*texts: str | Sequence[str], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        for number, text in enumerate(texts):
            name = zipfile.ZipInfo(f"{number}.csv")  # of a fixed date: names of parametrized tests may hold the bytes
            name.compress_type = method
            archive.writestr(name, text if isinstance(text, str) else "\n".join(text) + "\n")
    return sink.getvalue()


def put(root: Path, file: ArchiveFile, content: bytes, sha_of: bytes | None = b"") -> Path:
    """Lay a file into an archive's tree; ``sha_of`` None: without a checksum, or that of other bytes."""
    path = root / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if sha_of is not None:
        path.with_name(f"{path.name}.CHECKSUM").write_text(checksum(sha_of or content, file.name))
    return path


def line(open_ms: int, length_ms: int = MINUTE, unit: int = 1, price: str = "61607.90", trades: str = "418") -> str:
    """A line of an archive file; ``unit`` is how many of its time's units make a millisecond."""
    end = (open_ms + length_ms) * unit - 1
    return (
        f"{open_ms * unit},{price},61624.90,61605.30,61624.90,16.710,{end},1029521.00470,{trades},12.571,774523.56400,0"
    )


def checksum(content: bytes, name: str) -> str:
    return f"{hashlib.sha256(content).hexdigest()}  {name}"
