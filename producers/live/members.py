"""Which producers share a market's series, and whose each series is. Pure.

The living members of a team divide its series by rendezvous hashing (D. Thaler, C. Ravishankar, "Using name-based
mappings to increase hit rates", 1998): of a series, those are the owners whose names hash highest together with its
own. Every member reckons so by itself; a member that comes or goes moves only its own share. Nobody leads, and nobody
holds a lease: storage is idempotent, so two that record the same series do no harm, and a series that is given up goes
on until its owners say that they deliver it (make-before-break).
"""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple, Self

import orjson

from shared.candle import Series


class Member(NamedTuple):
    """One producer, as it says of itself.

    Attributes:
        name: of its process.
        host: of its machine.
        life: another one each time that the others may have taken it for dead.
        team: what has to be the same for members to share: the settings that say what is recorded, and how often.
        hears: whether the exchange is heard.
        settled: the set of members (``Division.digest``) of which it delivers its whole share; empty: of none.
    """

    name: str
    host: str
    life: int
    team: str
    hears: bool = True
    settled: str = ""

    def encode(self, at_ms: int) -> bytes:
        """As the value of its field in ``Keys.members``, said at a time of the broker's."""
        return orjson.dumps({**self._asdict(), "at_ms": at_ms})

    @classmethod
    def decode(cls, value: bytes) -> tuple[Self, int] | None:
        """A member and when it last said so; None when the value is none of ours."""
        try:
            body = orjson.loads(value)
            at_ms = int(body.pop("at_ms"))
            return cls(**{name: body[name] for name in cls._fields}), at_ms
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


class Division:
    """How the members of a team share its series, as one of them sees it. Those that do not hear have no share.

    Attributes:
        me: the one who sees it so.
        members: those who share, by name.
        digest: of these members, each in this life: two who have the same see the same.
        others_hear: whether anybody else could take over what this one does.
    """

    def __init__(self, me: Member, others: Iterable[Member] = (), redundancy: int = 1) -> None:
        self.me = me
        team = [me, *(other for other in others if other.team == me.team and other.name != me.name)]
        self.members = tuple(sorted([member for member in team if member.hears] or team))
        lives = "".join(f"{member.name} {member.life}\n" for member in self.members)
        self.others_hear = any(member.hears for member in team if member.name != me.name)
        self.digest = hashlib.blake2b(lives.encode(), digest_size=8).hexdigest()
        self._redundancy = redundancy
        self._settled = {member.name for member in self.members if member.settled == self.digest}
        self._owners: dict[Series, tuple[str, ...]] = {}

    def __eq__(self, other: object) -> bool:
        """Whether two divisions are the same, and as many have settled."""
        if not isinstance(other, Division):
            return NotImplemented
        return self._state == other._state

    @property
    def _state(self) -> tuple[str, set[str], bool, bool]:
        return self.digest, self._settled, self.is_out, self.others_hear

    __hash__ = None  # type: ignore[assignment]

    @property
    def is_out(self) -> bool:
        """Whether the one who sees it so has no share: it does not hear, or is about to leave."""
        return all(member.name != self.me.name for member in self.members)

    @property
    def is_shared(self) -> bool:
        """Whether there is anybody else."""
        return any(member.name != self.me.name for member in self.members)

    def owners(self, series: Series) -> tuple[str, ...]:
        """Whose a series is: as many as there should be, best first, on different hosts as far as there are."""
        if len(self.members) <= self._redundancy:
            return tuple(member.name for member in self.members)
        owners = self._owners.get(series)
        if owners is None:
            ranked = sorted(self.members, key=lambda member: _weight(member.name, series), reverse=True)
            chosen: list[Member] = []
            while len(chosen) < self._redundancy:
                hosts = {member.host for member in chosen}
                left = [member for member in ranked if member not in chosen]
                chosen.append(next((member for member in left if member.host not in hosts), left[0]))
            owners = self._owners[series] = tuple(member.name for member in chosen)
        return owners

    def is_mine(self, series: Series) -> bool:
        """Whether a series belongs to the one who sees it so."""
        return self.me.name in self.owners(series)

    def is_delivered(self, series: Series) -> bool:
        """Whether the owners of a series all deliver it."""
        return self._settled.issuperset(self.owners(series))

    def may_leave(self, series: Series) -> bool:
        """Whether a series that is not mine need not go on here. One who does not hear leaves nothing: it tries on."""
        return not self.is_out and self.is_delivered(series)


def _weight(name: str, series: Series) -> bytes:
    return hashlib.blake2b(f"{name}\n{series}".encode(), digest_size=8).digest()
