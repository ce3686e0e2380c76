"""Rounds of REST questions whose answers make one snapshot of an account."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from connectors.rest import Rest
from connectors.session import Request
from connectors.wire import BadFrame
from monitor.errors import VenueError
from monitor.model.events import SnapshotReason


class Round(Protocol):
    """Questions asked and answers so far. `link` is the private connection that was live when it began."""

    reason: SnapshotReason
    link: str | None
    missing: set[str]

    def take(self, kind: str, body: bytes, sent_ms: int) -> Iterable[str]:
        """One answer; returns the kinds of further questions. Raises BadFrame."""
        ...

    def do_without(self, kind: str) -> Iterable[str] | None:
        """An answer will not come. Returns the kinds of further questions; None when it is needed. Raises BadFrame."""
        ...


async def ask_in_turn(
    rest: Rest, asked: Round, request: Callable[[str], Request], pause_s: Callable[[str], float] = lambda kind: 0.0
) -> None:
    """Every question of a round, one after the other. Raises VenueError and BadFrame for what it needs.

    `pause_s` is how long to wait before a question, where the venue answers no more than so many at a time.
    """
    waiting = sorted(asked.missing)
    while waiting:
        kind = waiting.pop()
        await asyncio.sleep(pause_s(kind))
        try:
            response = await rest.perform(request(kind))
            waiting += asked.take(kind, response.body, response.sent_ms)
        except (VenueError, BadFrame):
            further = asked.do_without(kind)
            if further is None:
                raise
            waiting += further
