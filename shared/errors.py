"""Every error that Candlewick raises on purpose, in one tree below ``CandlewickError``.

An error's text is one line: what was wrong, and what is allowed or can be done. The command line prints it and leaves
with exit code 2: nobody sees a traceback for a mistake. An error that is not in this tree is an internal error.
"""


class CandlewickError(Exception):
    """The root of the tree."""


class SettingsError(CandlewickError):
    """A setting is unknown, malformed or contradicts another one."""


class SourceError(CandlewickError):
    """Candles of one exchange were about to mix with those of another."""


class BrokerError(CandlewickError):
    """The broker cannot be used as it is: wrong policy, wrong password, wrong kind of server."""


class BrokerAwayError(BrokerError):
    """The broker does not answer; the same call may succeed later."""


class ReplicaError(BrokerError):
    """The address leads to a read-only replica: for good, or for the moment of a fail-over."""


class StoreError(CandlewickError):
    """A file of the store cannot be written or read: disk refused, file damaged, lock held too long."""


class DamagedFileError(StoreError):
    """A file was read and is not what we wrote: damaged, or somebody else's."""


class SeriesLockedError(StoreError):
    """Another writer holds a series' lock; the same write may succeed in a moment."""


class NoStoreError(StoreError):
    """Nothing was ever stored there."""


class UnfitStoreError(StoreError):
    """A store does not keep what writers rely on."""


class VersionChangedError(StoreError):
    """Another writer has replaced what was read; read again, merge again, write again."""


class InternalStoreError(StoreError):
    """An internal error: what was to be written met something that neither disk nor file explains."""


class ExchangeError(CandlewickError):
    """The exchange does not do what it was asked for."""


class ConnectionFailedError(ExchangeError):
    """A WebSocket connection could not be opened, subscribed or kept; the text says why, for the log."""


class RestUnavailableError(ExchangeError):
    """The exchange did not answer this time; the same call may succeed later.

    ``seconds`` is how long the exchange wants to be left alone; 0 where it did not say.
    """

    def __init__(self, text: str, seconds: float = 0.0) -> None:
        super().__init__(text)
        self.seconds = seconds


class PoolClosedError(RestUnavailableError):
    """The exchange has closed the pool of request weight for ``seconds``, by answering ``status``: 429 or 418."""

    def __init__(self, seconds: float, status: int) -> None:
        super().__init__(f"the exchange answers {status}: nothing is asked for {seconds:.0f} s", seconds)
        self.status = status


class RestRefusedError(ExchangeError):
    """The exchange will not answer this question; the text is its own.

    ``code`` is Binance's error code, such as -1121 for an unknown symbol; 0 where it gave none.
    """

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


class ArchiveError(CandlewickError):
    """A file of the archive is refused; the text is the reason."""


class ArchiveUnreachableError(CandlewickError):
    """The archive does not answer; the text says why."""


class MalformedCandleError(CandlewickError, ValueError):
    """Untrusted values do not make a candle; the text is the reason that goes to the dead letters."""
