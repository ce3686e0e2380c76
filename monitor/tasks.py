"""Tasks that belong together: waiting for one of them, and ending them."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

CANCEL_S = 0.1
"""A task that goes on for so long is told once more to end."""
STOP_S = 5.0
"""The same of one that has to say goodbye."""


async def first_of(task: asyncio.Task[None], event: asyncio.Event) -> None:
    """Wait until a task is done or an event is set."""
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


async def until_one_ends(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run these together; when one ends, by failing, the others are cancelled and its error is raised."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await end(tasks, CANCEL_S)


async def end(tasks: Sequence[asyncio.Task[None]], again_s: float = STOP_S) -> None:
    """Cancel tasks until they have ended, those that go on every `again_s`.

    Once is not always enough: before Python 3.12 `asyncio.wait_for`, which the clients use, loses a cancellation that
    comes together with the result.
    """
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=again_s)
    await asyncio.gather(*tasks, return_exceptions=True)
