"""Which exchange candles come from: real and simulated ones, or those of two exchanges, never mix unnoticed. Pure.

A source is named ``binance``, ``simulated ADDRESS``, or by the host of another exchange. A broker's stream and a store
each know their sources, a market at a time. Nearly always that is one; more than one only where somebody meant it.
"""

from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from shared.errors import SourceError
from shared.market import Market

BINANCE = "binance"
_SIMULATED = "simulated "
_TEST_LABELS = ("testnet", "demo")  # of Binance's own hosts that serve another market than the real one

Sources = Sequence[str]


def simulated(address: str) -> str:
    """The source that the simulated exchange at an address is."""
    return f"{_SIMULATED}{address}"


def is_simulated(source: str) -> bool:
    """Whether a source is a simulated exchange."""
    return source.startswith(_SIMULATED)


def source_of(addresses: Iterable[str]) -> str:
    """The source that is reached at these addresses: Binance, or the first host that is not Binance's."""
    for address in addresses:
        parts = urlsplit(address)
        host = parts.hostname or ""
        if not _is_binance(host):
            return f"{host}:{parts.port}" if parts.port else host  # and no password
    return BINANCE


def _is_binance(host: str) -> bool:
    labels = host.split(".")
    return labels[-2:] in (["binance", "com"], ["binance", "vision"]) and not any(
        label.startswith(_TEST_LABELS) for label in labels
    )


def merged(known: Sources, new: Sources, where: str, market: Market, *, mix: bool) -> Sources:
    """The sources of a place that knows some, once candles of ``new`` are in it.

    ``where`` names the place, such as ``the store in data``. SourceError when one of them is of an exchange that the
    place does not know, unless they may ``mix``.
    """
    others = [source for source in new if known and source not in known]
    if others and not mix:
        raise SourceError(
            f"{where} has candles of {market} from {' and '.join(known)}, and these are from {' and '.join(others)}: "
            "record into a folder of their own with --data, with its own broker, or mean it with --mix-sources"
        )
    return tuple(dict.fromkeys((*known, *new)))


def shown(sources: Sources) -> str:
    """What people should know of sources: nothing where all is Binance's."""
    return "" if set(sources) <= {BINANCE} else " and ".join(sources)
