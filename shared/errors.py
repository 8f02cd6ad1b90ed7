"""Every error that Candlewick raises on purpose, in one tree.

A ``CandlewickError`` is meant for the user: its text is one line that names what was wrong and what is
allowed. The command line prints that line and leaves with exit code 2; nobody sees a traceback for a mistake.
"""


class CandlewickError(Exception):
    """Something the user can mend; the text says what and how."""


class SettingsError(CandlewickError):
    """A setting is unknown, malformed or contradicts another one."""


class BrokerError(CandlewickError):
    """The broker cannot be used as it is: wrong policy, wrong password, wrong kind of server."""


class ReplicaError(BrokerError):
    """The address leads to a read-only replica: for good, or for the moment of a fail-over."""


class StoreError(CandlewickError):
    """A partition cannot be written or read: disk refused, file damaged, lock held too long."""


class UnstorableError(StoreError):
    """A fault of ours: what was to be written met an error that neither disk nor file explains."""


class DamagedFileError(StoreError):
    """A file was read and is not what we wrote: damaged, or somebody else's."""


class SeriesLockedError(StoreError):
    """Another writer holds a series' lock; the same write may succeed in a moment."""


class MalformedCandleError(ValueError):
    """Untrusted values do not make a candle; the text is the reason that goes to the dead letters."""
