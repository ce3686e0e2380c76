"""Alerts on their way: numbered, kept in memory for the sinks, and behind them on the disk for those that lag."""

import asyncio
from collections import deque

from alerts.alert import Alert
from alerts.message import encode
from alerts.outbox import Outbox
from alerts.sink import Envelope

TAIL_MAX = 4_096
"""Messages kept in memory for sinks that lag; older ones are read from the state file again."""
UNSAVED_TAIL_MAX = 50_000
"""Messages kept in memory while the state file cannot be written; past it the oldest are lost to sinks that lag, but
what still fires is said to them again."""
READ_S = 10.0


class Backlog:
    """What was said, in order, as far as it may still be missing somewhere. `sequence` is the last number given."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.sequence = outbox.sequence
        self._tail: deque[Envelope] = deque()
        self._unsaved: list[Envelope] = []

    @property
    def is_untold(self) -> bool:
        """Whether there is something that `save` has to tell the disk."""
        return bool(self._unsaved)

    @property
    def unsaved(self) -> int:
        """How many messages the disk does not have."""
        return self.sequence - self._outbox.saved

    def add(self, alert: Alert) -> Envelope:
        """Give an alert the next number. The disk is told by `save`."""
        self.sequence += 1
        envelope = Envelope(self.sequence, alert, encode(alert))
        self._tail.append(envelope)
        self._unsaved.append(envelope)
        return envelope

    def save(self) -> list[int]:
        """Hand to the disk what it was not given yet, and let go of what memory has no room for; never blocks.

        Returns the numbers of those that were let go before the disk had them.
        """
        if self._unsaved:
            self._outbox.append(self._unsaved)
            self._unsaved = []
        lost: list[int] = []
        while len(self._tail) > TAIL_MAX and (
            self._tail[0].sequence <= self._outbox.saved or len(self._tail) > UNSAVED_TAIL_MAX
        ):
            oldest = self._tail.popleft().sequence
            if oldest > self._outbox.saved:
                lost.append(oldest)
        return lost

    def after(self, sequence: int, most: int) -> list[Envelope] | None:
        """The messages from memory that follow a number, oldest first; None when they are older than what it holds."""
        if sequence >= self.sequence:
            return []
        if self.oldest > sequence + 1:
            return None
        missing: deque[Envelope] = deque(maxlen=most)
        for envelope in reversed(self._tail):
            if envelope.sequence <= sequence:
                break
            missing.appendleft(envelope)
        return list(missing)

    @property
    def oldest(self) -> int:
        """The first number that memory holds; the next to be given, when it holds none."""
        return self._tail[0].sequence if self._tail else self.sequence + 1

    async def read(self, sequence: int, most: int) -> list[Envelope]:
        """The messages from the disk that follow a number, oldest first. Raises TimeoutError."""
        async with asyncio.timeout(READ_S):
            return await asyncio.wrap_future(self._outbox.read(sequence, most))

    def advance(self, sink: str, sequence: int) -> None:
        """Note on the disk that a sink has everything up to a number."""
        self._outbox.advance(sink, sequence)
