"""Work on many series, done by several processes through Dask: here, or wherever a scheduler's workers are.

What is handed out must be idempotent, by series: a worker may die in the middle, and another one does the same again.
Workers on other machines need the same version of Candlewick, and a store that they all reach: an object store, or a
file system with ``flock`` on folders.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from candlewick.parallel.progress_bar import progress_bar
from shared.errors import CandlewickError, SettingsError
from shared.settings.model import Settings

if TYPE_CHECKING:
    from distributed import Client

_TRIES = 3  # how often workers may die over the same task
_SCHEDULER_SECONDS = 10
_BATCH = 16

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


def over_workers(
    function: Callable[[Settings, _Task], _Result],
    settings: Settings,
    tasks: Sequence[_Task],
    *,
    workers: int | None,
    address: str | None,
) -> Iterator[tuple[_Task, _Result]]:
    """Results of ``function(settings, task)`` for each task, as they come; a bar on standard error, if a terminal.

    Args:
        function: of a module, so that workers can import it; its arguments and results are pickled.
        settings: in force; the data folder is made absolute.
        tasks: what is to be done.
        workers: how many processes of this machine.
        address: of a Dask scheduler, such as ``tcp://host:8786``, in place of them.

    Raises:
        SettingsError: when both ``workers`` and ``address`` are given.
        CandlewickError: what a task raised; that the extra is not installed, the scheduler does not answer, or workers
            died over the same task three times.
    """
    if workers is not None and address is not None:
        raise SettingsError("--workers are this machine's, and --dask names others: only one of them may be given")
    try:
        from distributed import KilledWorker, as_completed
    except ImportError as error:
        raise CandlewickError(f"--workers and --dask need `pip install 'candlewick[dask]'`: {error}") from None
    folder = settings.data.folder.absolute()
    settings = settings.model_copy(update={"data": settings.data.model_copy(update={"folder": folder})})
    with _client(workers, address) as client, progress_bar() as advance:
        futures = {client.submit(function, settings, task, pure=False): task for task in tasks}
        for done, future in enumerate(as_completed(futures), start=1):  # type: ignore[no-untyped-call]
            try:
                result = future.result()
            except KilledWorker:
                raise CandlewickError(f"workers died {_TRIES} times over {futures[future]}") from None
            advance(done, len(tasks))
            yield futures[future], result


def in_batches(
    function: Callable[[Settings, Sequence[_Task]], _Result],
    settings: Settings,
    tasks: Sequence[_Task],
    *,
    workers: int | None,
    address: str | None,
) -> list[_Result]:
    """``over_workers`` for small tasks, some at a time; in this process, and all at once, where none are asked for."""
    if workers is None and address is None:
        return [function(settings, tasks)]
    batches = [tasks[at : at + _BATCH] for at in range(0, len(tasks), _BATCH)]
    return [result for _, result in over_workers(function, settings, batches, workers=workers, address=address)]


@contextlib.contextmanager
def _client(workers: int | None, address: str | None) -> "Iterator[Client]":
    """A client of the scheduler, or of one with processes of its own for as long as the block lasts."""
    import dask
    from distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel(logging.ERROR)
    options: dict[str, Any] = {"distributed.scheduler.allowed-failures": _TRIES, "distributed.worker.daemon": True}
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(options))
        if address is None:
            local: dict[str, Any] = {"threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
            cluster = LocalCluster(n_workers=workers or 1, **local)  # type: ignore[no-untyped-call]
            address = stack.enter_context(cluster).scheduler_address
        try:
            client = Client(address, timeout=_SCHEDULER_SECONDS)  # type: ignore[no-untyped-call]
            stack.enter_context(client)
        except (OSError, TimeoutError, ValueError) as error:
            raise CandlewickError(f"no Dask scheduler answers at {address}: {error}") from None
        yield client
