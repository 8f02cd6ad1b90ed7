"""How well the pipeline does, judged from what its processes say and what its streams hold. Pure.

*recording* means that candles come in when they should and are stored. *degraded* means that something is not as it
should be, while something still works. *dead* means that nothing is recorded, or nothing stored: the broker does not
answer, or a process that has to live does not.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from consumer.group.streams import waits_too_long
from shared.settings.model import Settings
from shared.text import counted

WRITER = "writer"


class State(StrEnum):
    """How well it does."""

    RECORDING = "recording"
    DEGRADED = "degraded"
    DEAD = "dead"

    @property
    def exit_code(self) -> int:
        """What a command leaves with that found it so."""
        return {State.RECORDING: 0, State.DEGRADED: 1, State.DEAD: 3}[self]


class Verdict(NamedTuple):
    """How well it does, and why not better: a line each."""

    state: State
    reasons: Sequence[str] = ()


def judge(found: Mapping[str, Any], settings: Settings) -> Verdict:
    """The whole pipeline, as ``candlewick.checks.state.collect`` found it."""
    if found["broker"]["error"]:
        return Verdict(State.DEAD, [f"{found['broker']['address']}: {found['broker']['error']}"])
    wanted = {name: state for name, state in found["markets"].items() if state["groups"]}
    dead = [f"no producer of {name} lives" for name, state in wanted.items() if not state["producers"]]
    dead += [] if found["writers"] else ["no writer lives"]
    reasons = [*dead, *missing_shares(found), *_troubles(found), *_unstored(found, settings)]
    if not reasons:
        return Verdict(State.RECORDING)
    return Verdict(State.DEAD if dead else State.DEGRADED, reasons)


def judge_role(role: str, bodies: Sequence[Mapping[str, Any]], found: Mapping[str, Any], settings: Settings) -> Verdict:
    """One role on this host: a market's producer, or the writer, for which the streams count too."""
    if not bodies:
        return Verdict(State.DEAD, [f"no {role} lives on this host"])
    reasons = [trouble for body in bodies for trouble in body.get("troubles", ())]
    reasons += _unstored(found, settings) if role == WRITER else []
    return Verdict(State.DEGRADED if reasons else State.RECORDING, reasons)


def missing_shares(found: Mapping[str, Any]) -> Iterator[str]:
    """Parts of markets that are divided among producers, of which one does not live."""
    for name, state in found["markets"].items():
        texts = (str(producer.get("share", "1/1")) for producer in state["producers"])
        matches = (re.fullmatch(r"(\d{1,6})/(\d{1,6})", text) for text in texts)
        shares = {(int(match[1]), int(match[2])) for match in matches if match is not None}
        parts = max((parts for _, parts in shares), default=1)
        if shares and (1, 1) not in shares:
            missing = [part for part in range(1, parts + 1) if (part, parts) not in shares]
            yield from (f"no producer of {name} lives that has share {part}/{parts}" for part in missing)


def _troubles(found: Mapping[str, Any]) -> Iterator[str]:
    """What processes say of themselves, and letters that wait for somebody's decision."""
    for name, state in found["markets"].items():
        for producer in state["producers"]:
            yield from (f"{name}: {trouble}" for trouble in producer.get("troubles", ()))
    for writer in found["writers"]:
        yield from (f"writer: {trouble}" for trouble in writer.get("troubles", ()))
    letters = sum(state["stream"]["dead_letters"] for state in found["markets"].values())
    if letters:
        yield f"{counted(letters, 'dead letter waits', 'dead letters wait')}: `candlewick dead-letters list`"


def _unstored(found: Mapping[str, Any], settings: Settings) -> Iterator[str]:
    """Streams whose oldest entry that is not stored has waited for too long."""
    for name, state in found["markets"].items():
        if text := waits_too_long(name, state["stream"], settings.writing):
            yield text
