"""What every question to a recording needs: the dataset, the broker if there is one, and both joined."""

import threading
import warnings
from types import TracebackType
from typing import Any, Self

from redis.exceptions import RedisError

from candlewick.recording.joined import JoinedReader
from candlewick.recording.query import Selection
from consumer.dataset.dataset import Dataset
from consumer.group.unstored import UnstoredEntries
from shared.broker.client import CONNECTION_ERRORS, SyncClient, broker_name, embedded_socket, sync_client
from shared.broker.keys import Keys
from shared.broker.sources import sources_of
from shared.candle import Series
from shared.errors import BrokerError, SourceError
from shared.market import Market
from shared.settings.model import Settings


class StoredOnlyWarning(UserWarning):
    """The broker does not answer: what is published and not stored yet, a few seconds' candles, is not read."""


class Access:
    """A data folder and its broker, as a reader has them. Safe to share between threads.

    Attributes:
        settings: where data folder and broker are.
    """

    def __init__(self, settings: Settings, *, stored_only: bool = False) -> None:
        self.settings = settings
        self._dataset = Dataset.in_folder(settings.data.folder)
        self._keys = Keys(settings.broker.prefix)
        self._client: SyncClient | None = None if stored_only else sync_client(settings)
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
        if self._client is None:
            raise BrokerError("this recording was opened without a broker: only what is stored can be read")
        return self._client

    def _chosen(self, reader: JoinedReader, selection: Selection) -> list[Series]:
        if selection.is_one and selection.interval is not None:
            return [Series(selection.markets[0], selection.symbols[0], selection.interval)]
        every = reader.series()
        if not every:
            self._dataset.check_exists()
        return selection.of_those(every, str(self.settings.data.folder))

    def _reader(self, selection: Selection, *, stored_only: bool = False) -> JoinedReader:
        """The dataset, and what is published besides in the selection's markets; the broker is asked now."""
        if self._client is not None and not stored_only:
            try:
                reader = self._joined(selection)
            except (RedisError, *CONNECTION_ERRORS) as error:
                self._dataset.check_exists()
                self._warn(error)
            else:
                self._has_warned = False
                return reader
        return JoinedReader(self._dataset, {})

    def _joined(self, selection: Selection) -> JoinedReader:
        """``_reader`` that raises what redis-py raises while the broker is away."""
        found: dict[Market, UnstoredEntries] = {}
        for market in selection.markets or Market:
            self._check_source(self._broker(), market)
            found[market] = self._entries(self._broker(), market)
            found[market].look()
        return JoinedReader(self._dataset, found)

    def _entries(self, client: SyncClient, market: Market) -> UnstoredEntries:
        with self._mutex:
            new = UnstoredEntries(client, self._keys, market, self.settings.writer.group)
            return self._unstored.setdefault(market, new)

    def _check_source(self, client: SyncClient, market: Market) -> None:
        """Candles of two exchanges never mix unnoticed, in what is read as in what is stored."""
        stored, published = self._dataset.sources(market), sources_of(client, self._keys, market)
        if stored and published and not set(stored) & set(published):
            raise SourceError(
                f"{self.settings.data.folder} has candles of {market} from {' and '.join(stored)}, and "
                f"{broker_name(self.settings)} those from {' and '.join(published)}: this is another recording's broker"
            )

    def _warn(self, error: BaseException) -> None:
        if not self._has_warned:
            self._has_warned = True
            is_gone = not self.settings.broker.url and not embedded_socket(self.settings).exists()
            reason = "does not run" if is_gone else f"does not answer ({error})"
            text = f"{broker_name(self.settings)} {reason}: stored candles only"
            warnings.warn(text, StoredOnlyWarning, stacklevel=4)
