"""Tasks end when they are told to, and a task that fails is not unseen."""

import asyncio

import pytest

from shared.process.tasks import Tasks, cancel


async def test_a_task_that_swallows_its_cancellation_is_told_again() -> None:
    """As a library does that meets it in a time-out of its own."""
    told: list[int] = []

    async def stubborn() -> None:
        while len(told) < 3:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                told.append(1)

    async def failing() -> None:
        raise ZeroDivisionError

    tasks = [asyncio.create_task(stubborn()), asyncio.create_task(failing())]
    await asyncio.sleep(0)
    await asyncio.wait_for(cancel(tasks, told_again_seconds=0.01), 20)
    assert len(told) == 3


async def test_a_task_that_fails_ends_its_block_and_the_others_and_its_error_is_raised() -> None:
    ended: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("other")

    async def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with Tasks() as tasks:
            tasks.start(waits())
            tasks.start(fails())
            await asyncio.sleep(3600)
    assert ended == ["other"]


async def test_a_block_that_fails_cancels_its_tasks_and_keeps_its_error() -> None:
    with pytest.raises(ZeroDivisionError):
        async with Tasks() as tasks:
            waiting = tasks.start(asyncio.sleep(3600))
            raise ZeroDivisionError
    assert waiting.cancelled()


async def test_a_block_waits_for_its_tasks() -> None:
    async with Tasks() as tasks:
        task = tasks.start(asyncio.sleep(0.01, "done"))
        assert tasks.running == {task}
    assert task.result() == "done"
    assert not tasks.running
