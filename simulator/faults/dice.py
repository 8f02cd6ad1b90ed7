"""The dice that decide, for each frame and call, what goes wrong."""

import json
import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

from simulator.faults.model import Faults

_FRAME_FAULTS = ("duplicate", "out_of_order", "corrupt", "truncated", "foreign", "future")
_FUTURE_MS = 399 * 86_400_000  # on the grid of every interval but months
_MOST_CHANGED = 4
_MOST_HELD = 3
_NEVER_RIGHT = "abgjkpruyz!#$%&*/:;<=>?@[]^`{|}~\\\"',\x00\x07éж"  # in no number, symbol, interval or name of a field


class FaultDice:
    """Decides what goes wrong now, and counts it.

    Attributes:
        injected: how often each fault happened.
        frames: whether any fault of single frames is on.
    """

    def __init__(self, seed: int, faults: Faults) -> None:
        self.injected: Counter[str] = Counter()
        self.random = random.Random(seed)
        self.faults = faults

    @property
    def faults(self) -> Faults:
        """The faults in force."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        self._chances: dict[str, float] = faults.model_dump()
        self.frames = any(self._chances[name] for name in _FRAME_FAULTS)

    def hits(self, name: str) -> bool:
        """Whether the fault of this name happens now; a fault that is off draws no number."""
        chance = self._chances[name]
        if not chance or self.random.random() >= chance:
            return False
        self.injected[name] += 1
        return True

    def closing_delay_ms(self) -> int | None:
        """How much later than usual a closing frame comes, in ms of the exchange's time; None: never."""
        if self.hits("no_close"):
            return None
        return int(self.up_to(self._faults.late_close_seconds) * 1000) if self.hits("late_close") else 0

    def clock_error_ms(self) -> int:
        """How wrong the time in an event is, in ms."""
        if not self.hits("wrong_time"):
            return 0
        return int((2 * self.random.random() - 1) * self._faults.wrong_time_seconds * 1000)

    def up_to(self, seconds: float) -> float:
        """A random part of so many seconds."""
        return self.random.random() * seconds

    def corrupted(self, text: str) -> str:
        """A text with a few characters changed, in such a way that nobody can take a kline for another one.

        A digit never becomes another digit, for example: no reader could tell.
        """
        characters = list(text)
        for _ in range(self.random.randint(1, _MOST_CHANGED)):
            at = self.random.randrange(len(characters))
            characters[at] = self.random.choice(_NEVER_RIGHT.replace(characters[at], ""))
        return "".join(characters)

    def truncated(self, text: str) -> str:
        """The beginning of a text, without at least its last character."""
        return text[: self.random.randrange(len(text))]


class FrameFaults:
    """What becomes of the kline frames of one connection."""

    def __init__(self, dice: FaultDice) -> None:
        self._dice = dice
        self._held: list[tuple[int, str]] = []

    @property
    def on(self) -> bool:
        """Whether frames must pass through here: a fault is on, or a frame is still held back."""
        return self._dice.frames or bool(self._held)

    def passed(self, text: str) -> Iterable[str]:
        """What is sent when ``text`` should be: none, one or several frames."""
        dice = self._dice
        more = [lie(text) for name, lie in _LIES.items() if dice.hits(name)]
        if dice.hits("corrupt"):
            text = dice.corrupted(text)
        elif dice.hits("truncated"):
            text = dice.truncated(text)
        sent = [text, text] if dice.hits("duplicate") else [text]
        released = [held for left, held in self._held if left == 0]
        self._held = [(left - 1, held) for left, held in self._held if left > 0]
        if dice.hits("out_of_order"):
            wait = dice.random.randrange(_MOST_HELD)
            self._held += [(wait, held) for held in sent]
            return [*more, *released]
        return [*sent, *more, *released]


def _foreign(text: str) -> str:
    frame, event = _opened(text)
    event["s"] = event["k"]["s"] = f"NOBODYS{event['s']}"
    if "stream" in frame:
        frame["stream"] = f"nobodys{frame['stream']}"
    return json.dumps(frame, ensure_ascii=False)


def _future(text: str) -> str:
    frame, event = _opened(text)
    for holder, names in ((event, "E"), (event["k"], "tT")):
        for name in names:
            holder[name] += _FUTURE_MS
    return json.dumps(frame, ensure_ascii=False)


def _opened(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A kline frame as an object, and the event in it, which is made a closing one."""
    frame: dict[str, Any] = json.loads(text)
    event = frame.get("data", frame)
    event["k"]["x"] = True
    event["E"] = max(event["E"], event["k"]["T"] + 1)
    return frame, event


_LIES = {"foreign": _foreign, "future": _future}
