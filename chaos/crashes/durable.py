"""What a power cut could still take after an acknowledgement, from strace's log of the calls that led to it.

A killed process leaves its unsynced writes in the kernel's memory, so that a restart finds them: killing alone never
shows a sync that was left out or that failed. This follows the calls instead, as a file system that promises no more
than it must: a name (a folder made, a file renamed) lasts when its parent folder was synced after it, and a file's
content when the file was synced after its last write. It goes on through a crash: what the dead process left unsynced
its successor has to sync, before it acknowledges.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from chaos.crashes.strace import Call

_MADE = re.compile(r'mkdir(?:at)?\((?:AT_FDCWD<[^>]*>, )?"(?P<path>[^"]+)"')
_RENAMED = re.compile(
    r'rename(?:at|at2)?\((?:AT_FDCWD<[^>]*>, )?"(?P<old>[^"]+)", '
    r'(?:(?:AT_FDCWD|\d+)<(?P<folder>[^>]*)>, )?"(?P<new>[^"]+)"'
)
_SYNCED = re.compile(r"f(?:data)?sync\(\d+<(?P<path>[^>]+)>")
_WROTE = re.compile(r"p?write(?:64)?\(\d+<(?P<path>/[^>]+)>")
_ACKNOWLEDGED = re.compile(r"sendto\(.*nXACK\\r")


def unsynced(calls: Iterable[Call], data: Path) -> list[str]:
    """What below a data folder was not durable when the last acknowledgement was sent; nothing when none was.

    Args:
        calls: of one process after the other, in their order.
        data: the data folder.
    """
    names: set[Path] = set()
    contents: set[Path] = set()
    found: list[str] = []
    for call in calls:
        text = f"{call.name}({call.text}"
        if _ACKNOWLEDGED.match(text):
            lost = [path for path in names | contents if path.is_relative_to(data)]
            found = sorted(str(path.relative_to(data)) for path in lost if not path.is_relative_to(data / "staging"))
        elif call.has_run and (made := _MADE.match(text)):
            names.add(Path(made["path"]))
        elif call.has_run and (renamed := _RENAMED.match(text)):
            new = Path(renamed["folder"] or "/", renamed["new"])
            names.add(new)
            contents.discard(new)
            if Path(renamed["old"]) in contents:
                contents.add(new)
        elif call.has_run and (synced := _SYNCED.match(text)):
            names = {path for path in names if path.parent != Path(synced["path"])}
            contents.discard(Path(synced["path"]))
        elif wrote := _WROTE.match(text):
            contents.add(Path(wrote["path"]))
    return found
