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
    """Questions asked and answers so far. `link` is the private connection that was live when it began.

    What it needs makes the snapshot one to believe: positions, balances, mode. What it can do without may go on from
    the last good answer (`connectors.definitions`); its answers are read as they are taken, so that one that cannot be
    used is like none.
    """

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
) -> dict[str, str]:
    """Every question of a round, one after the other. Raises VenueError and BadFrame for what it needs.

    Returns what it did without, and why.

    `pause_s` is how long to wait before a question, where the venue answers no more than so many at a time.
    """
    waiting, unanswered = sorted(asked.missing), dict[str, str]()
    while waiting:
        kind = waiting.pop()
        await asyncio.sleep(pause_s(kind))
        try:
            response = await rest.perform(request(kind))
            waiting += asked.take(kind, response.body, response.sent_ms)
        except (VenueError, BadFrame) as error:
            further = asked.do_without(kind)
            if further is None:
                raise
            unanswered[kind] = str(error)
            waiting += further
    return unanswered


class Unanswered:
    """What rounds do without. Questions of one topic, for however many contracts, are one thing to tell of."""

    def __init__(self) -> None:
        self._before: set[str] = set()
        """What the last rounds did without and no later one was told."""
        self._told: set[str] = set()
        self._untold: set[str] = set()
        """In the present round."""

    def told(self, kind: str) -> None:
        """It was answered."""
        self._told.add(_topic(kind))

    def untold(self, kind: str) -> bool:
        """It was not; returns whether that is news."""
        topic = _topic(kind)
        news = topic not in self._before | self._untold
        self._untold.add(topic)
        return news

    def end_round(self) -> None:
        """What was answered is forgotten, unless another question of its topic was not."""
        self._before = (self._before - self._told) | self._untold
        self._told, self._untold = set(), set()


def _topic(kind: str) -> str:
    return kind.partition("/")[0]
