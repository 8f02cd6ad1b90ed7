"""The command itself, run as a user runs it."""

import subprocess
import sys
from collections.abc import Callable

Run = Callable[..., "subprocess.CompletedProcess[str]"]


Start = Callable[..., "subprocess.Popen[bytes]"]


COMMAND = [sys.executable, "-P", "-m", "candlewick"]
