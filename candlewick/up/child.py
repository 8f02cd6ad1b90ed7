"""What a process does that ``candlewick up`` started: it stops in good order when its supervisor is gone.

Apart from the supervisor, because every command begins with it and help has to be quick.
"""

import contextlib
import os
import signal
import sys
import threading

COMMAND = (sys.executable, "-P", "-m", "candlewick")
"""How a process of ours starts another: by this very Python, and never by what lies in the working folder (-P)."""

SUPERVISED = "CANDLEWICK_SUPERVISED"
"""Set for processes whose standard input is the supervisor's pipe. Not a setting."""


def watch_supervisor() -> None:
    """In a supervised process: raise SIGTERM when standard input ends, which it does with the supervisor."""
    if not os.environ.pop(SUPERVISED, None):
        return

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True, name="watch-supervisor").start()
