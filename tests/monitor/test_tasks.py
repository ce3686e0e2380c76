"""Tasks that end by themselves, by failing, and when they are told to."""

import asyncio
from contextlib import suppress

import pytest

from monitor.tasks import end, first_of, until_one_ends


class Deaf:
    """Work that goes on through so many cancellations."""

    def __init__(self, losses: int) -> None:
        self.left = losses
        self.heard = 0

    async def work(self) -> None:
        """Until it hears that it is to end."""
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.heard += 1
                if self.heard > self.left:
                    raise


async def started(work: Deaf) -> asyncio.Task[None]:
    """A task that is in the middle of it."""
    task = asyncio.create_task(work.work())
    await asyncio.sleep(0)
    return task


async def test_the_first_that_fails_ends_the_others() -> None:
    """Its error is raised once all have ended."""
    other = Deaf(losses=0)

    async def fail() -> None:
        await asyncio.sleep(0)
        raise OSError("lost")

    with pytest.raises(OSError, match="lost"):
        await until_one_ends(other.work(), fail())
    assert other.heard == 1


async def test_who_loses_a_cancellation_is_told_again() -> None:
    """Until it has ended; one that ended before is not told."""
    deaf, done = Deaf(losses=2), asyncio.create_task(asyncio.sleep(0))
    await done
    task = await started(deaf)
    await end([task, done], 0.001)
    assert (task.cancelled(), done.cancelled(), deaf.heard) == (True, False, 3)


async def test_an_event_and_a_task_whichever_comes_first() -> None:
    """The other one is left as it is."""
    event, deaf = asyncio.Event(), Deaf(losses=0)
    task = await started(deaf)
    event.set()
    await first_of(task, event)
    assert not task.done()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    event.clear()
    await first_of(task, event)
    assert not event.is_set()
