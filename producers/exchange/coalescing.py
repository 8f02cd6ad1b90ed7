"""A WebSocket connection that takes in together what comes in quick succession.

The exchange pushes open klines one by one, thousands a second over a whole market. To wake up for each costs several
times as much as to look at it. So when a little data comes less than 10 ms after the last, the connection does not read
for as long: what comes meanwhile waits in the kernel and is taken in at once. A candle that closes is as much later at
most. A connection that says little is never held, nor is one that says so much that there is nothing to be gained.
"""

from websockets.asyncio.client import ClientConnection

_TOGETHER_SECONDS = 0.01
_MUCH_BYTES = 16_384  # about fifty frames


class CoalescingConnection(ClientConnection):
    """websockets' connection; for ``connect(create_connection=…)``."""

    _awake_at = 0.0  # by the loop's clock: when it last took data in, or began to read again

    def data_received(self, data: bytes) -> None:
        """Take data in, as asyncio hands it over."""
        super().data_received(data)
        now = self.loop.time()
        if len(data) < _MUCH_BYTES and now - self._awake_at < _TOGETHER_SECONDS:
            self.transport.pause_reading()
            self.loop.call_later(_TOGETHER_SECONDS, self._read_again)
        self._awake_at = now

    def _read_again(self) -> None:
        self._awake_at = self.loop.time()
        if not self.recv_messages.paused:  # websockets has paused because messages wait, and goes on by itself
            self.transport.resume_reading()
