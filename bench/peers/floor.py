"""The floor: a loop over ``websockets`` that receives and forgets."""

from importlib.metadata import version

from websockets.asyncio.client import connect

from bench.peers.feed import CHANNELS
from bench.peers.stopwatch import Stopwatch, timed


async def receive(address: str, watch: Stopwatch) -> None:
    """Receive until enough was seen."""
    url = f"{address}/stream?streams={'/'.join(CHANNELS)}"
    async with connect(url, compression=None, ping_interval=None, max_queue=1024, max_size=None) as socket:
        while not watch.done.is_set():
            await socket.recv(decode=False)
            watch.see()


if __name__ == "__main__":
    timed(receive, version("websockets"))
