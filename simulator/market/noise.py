"""Numbers that look random and are a pure function of what goes in: the same on every machine, in any order."""

import math


def mix(number: int) -> int:
    """SplitMix64's output function (Steele, Lea, Flood 2014): 64 well-mixed bits."""
    number = (number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return number ^ (number >> 31)


def unit(number: int) -> float:
    """64 bits as a number in [0, 1)."""
    return number / 2**64


def noise(key: int, position: float) -> float:
    """Smooth value noise in [-1, 1]: random values at whole positions, joined by a cubic."""
    whole = math.floor(position)
    part = position - whole
    part = part * part * (3 - 2 * part)
    left, right = unit(mix(key ^ mix(whole))), unit(mix(key ^ mix(whole + 1)))
    return 2 * (left + (right - left) * part) - 1
