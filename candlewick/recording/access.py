"""What every question to a recording needs: the dataset, the broker if there is one, and both joined.

redis-py and all that only some questions need is imported by whoever comes to it: a read of what is stored starts
without.
"""

import threading
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from candlewick.recording.joined import JoinedReader
from candlewick.recording.query import Selection
from consumer.dataset.dataset import Dataset
from shared.broker.address import broker_name, embedded_socket
from shared.broker.keys import Keys
from shared.candle import Series
from shared.errors import BrokerError, SourceError
from shared.market import Market
from shared.settings.model import Settings

if TYPE_CHECKING:
    from consumer.group.unstored import UnstoredEntries
    from shared.broker.client import SyncClient


class StoredOnlyWarning(UserWarning):
    """The broker does not answer: what is published and not stored yet, a few seconds' candles, is not read."""


class Access:
    """A store and its broker, as a reader has them. Safe to share between threads.

    Attributes:
        settings: where both are.
    """

    def __init__(self, settings: Settings, *, stored_only: bool = False) -> None:
        self.settings = settings
        self._dataset = Dataset.of(settings)
        self._keys = Keys(settings.broker.prefix)
        self._stored_only = stored_only
        self._client: SyncClient | None = None
        self._unstored: dict[Market, UnstoredEntries] = {}
        self._has_warned = False
        self._mutex = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection to the broker."""
        if self._client is not None:
            self._client.close()

    def _broker(self) -> Any:
        if self._stored_only:
            raise BrokerError("this recording was opened without a broker: only what is stored can be read")
        if self._client is None:
            from shared.broker.client import sync_client

            with self._mutex:
                self._client = self._client or sync_client(self.settings)
        return self._client

    @property
    def _is_gone(self) -> bool:
        """Whether nobody can answer: the embedded broker's socket is not there."""
        return not self.settings.broker.url and not embedded_socket(self.settings).exists()

    def _chosen(self, reader: JoinedReader, selection: Selection) -> list[Series]:
        if selection.is_one and selection.interval is not None:
            return [Series(selection.markets[0], selection.symbols[0], selection.interval)]
        every = reader.series()
        if not every:
            self._dataset.check_exists()
        return selection.of_those(every, self.settings.store_name)

    def _reader(self, selection: Selection, *, stored_only: bool = False) -> JoinedReader:
        """The dataset, and what is published besides in the selection's markets; the broker is asked now."""
        if self._stored_only or stored_only:
            return JoinedReader(self._dataset, {})
        if self._is_gone:
            return self._stored("does not run")
        from redis.exceptions import RedisError

        try:
            reader = self._joined(selection)
        except (RedisError, OSError) as error:
            return self._stored("does not run" if self._is_gone else f"does not answer ({error})")
        self._has_warned = False
        return reader

    def _joined(self, selection: Selection) -> JoinedReader:
        """``_reader`` that raises what redis-py raises while the broker is away."""
        found: dict[Market, UnstoredEntries] = {}
        for market in selection.markets or Market:
            self._check_source(self._broker(), market)
            found[market] = self._entries(self._broker(), market)
            found[market].look()
        return JoinedReader(self._dataset, found)

    def _entries(self, client: "SyncClient", market: Market) -> "UnstoredEntries":
        from consumer.group.unstored import UnstoredEntries

        with self._mutex:
            new = UnstoredEntries(client, self._keys, market, self.settings.writer.group)
            return self._unstored.setdefault(market, new)

    def _check_source(self, client: "SyncClient", market: Market) -> None:
        """Candles of two exchanges never mix unnoticed, in what is read as in what is stored."""
        from shared.broker.sources import sources_of

        stored, published = self._dataset.sources(market), sources_of(client, self._keys, market)
        if stored and published and not set(stored) & set(published):
            raise SourceError(
                f"{self.settings.store_name} has candles of {market} from {' and '.join(stored)}, and "
                f"{broker_name(self.settings)} those from {' and '.join(published)}: this is another recording's broker"
            )

    def _stored(self, reason: str) -> JoinedReader:
        """The dataset alone, because the broker does not do; that is said once."""
        self._dataset.check_exists()
        if not self._has_warned:
            self._has_warned = True
            text = f"{broker_name(self.settings)} {reason}: stored candles only"
            warnings.warn(text, StoredOnlyWarning, stacklevel=4)
        return JoinedReader(self._dataset, {})
