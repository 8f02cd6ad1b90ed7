"""Which series are this process's when several share a market. Pure."""

import hashlib
import re
from dataclasses import dataclass
from typing import Self

from shared.candle import Series
from shared.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Share:
    """One part of a market's series, as in ``1/3``.

    Membership depends on nothing but the series' name and the number of parts (BLAKE2b of ``market symbol-interval``),
    so it is the same on every host and in every version of Python; the parts are disjoint and together are all.
    """

    part: int = 1  # from 1 to ``parts``
    parts: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """A share from text such as ``2/3``; SettingsError when it is not of that form or the part is out of range."""
        match = re.fullmatch(r"([1-9]\d{0,3})/([1-9]\d{0,3})", text, re.ASCII)
        if match is None or int(match[1]) > int(match[2]):
            raise SettingsError(f"share {text!r} is not of the form PART/PARTS with PART from 1 to PARTS, as in 1/3")
        return cls(int(match[1]), int(match[2]))

    def __contains__(self, series: Series) -> bool:
        digest = hashlib.blake2b(str(series).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.parts == self.part - 1

    def __str__(self) -> str:
        return f"{self.part}/{self.parts}"
