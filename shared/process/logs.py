"""Logging for every process: one line an event, with the process's name, to standard error."""

import logging
import sys
import time


def configure_logging(process: str, level: str = "INFO") -> None:
    """Send log lines of a level and above to standard error as ``2026-01-01T00:00:00.000Z spot INFO message``."""
    formatter = logging.Formatter(
        f"%(asctime)s.%(msecs)03dZ {process:<12} %(levelname)-7s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("websockets", "aiohttp.access", "asyncio", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
