"""Time as an argument: the clock that shells read once and pass on as `now`."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where `now` comes from."""

    def now(self) -> float:
        """Seconds since the epoch on a timeline that never runs backwards."""
        ...


def _steady() -> float:
    """Seconds that never run backwards and go on while the machine sleeps: what was seen before a sleep is old."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class SystemClock:
    """The wall clock at construction, carried on by the monotonic clock.

    A wall clock that is stepped back (no battery on the board, a late NTP answer) would make dead feeds look fresh,
    so ages and deadlines never come from it.
    """

    __slots__ = ("_offset",)

    def __init__(self) -> None:
        self._offset = time.time() - _steady()

    def now(self) -> float:
        """Seconds since the epoch, steady."""
        return _steady() + self._offset


class ManualClock:
    """A clock that moves when told; for tests and replays."""

    __slots__ = ("_now",)

    def __init__(self, now: float = 1_790_000_000.0) -> None:
        self._now = now

    def now(self) -> float:
        """The time last set."""
        return self._now

    def advance(self, seconds: float) -> float:
        """Move forward by `seconds` (never back) and return the new time."""
        if seconds < 0:
            raise ValueError("a clock does not run backwards")
        self._now += seconds
        return self._now

    def set(self, now: float) -> None:
        """Move to `now`, which must not lie in the past."""
        self.advance(now - self._now)
