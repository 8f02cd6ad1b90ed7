"""What a check found: how well one thing is, in a line, and what to do where it is not."""

from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    """How well a thing is: *doubtful* may do, *bad* will not."""

    WELL = "well"
    DOUBTFUL = "doubtful"
    BAD = "bad"


class Finding(NamedTuple):
    """One line of a check.

    Attributes:
        level: how well it is.
        subject: what was looked at, in a word or two.
        text: what was found.
        remedy: what to do; empty where nothing has to be done.
    """

    level: Level
    subject: str
    text: str
    remedy: str = ""


def well(subject: str, text: str) -> Finding:
    """It is as it should be."""
    return Finding(Level.WELL, subject, text)


def doubtful(subject: str, text: str, remedy: str) -> Finding:
    """It may do."""
    return Finding(Level.DOUBTFUL, subject, text, remedy)


def bad(subject: str, text: str, remedy: str) -> Finding:
    """It will not do."""
    return Finding(Level.BAD, subject, text, remedy)
