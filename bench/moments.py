"""Moments of a minute: candles come at its end, so what is measured begins and ends in its middle."""

import time

MIDDLE_SECOND = 45
"""Of a minute: what its end brought is done, what the next one brings has not begun."""


def sleep_to(second: int) -> None:
    """Until the next time that this is the second of a minute."""
    time.sleep((second - time.time()) % 60)
