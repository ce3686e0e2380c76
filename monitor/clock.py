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

    def set_by_s(self) -> float:
        """By how much the machine's wall clock was set forward (back: negative) since construction."""
        return time.time() - self.now()


class Setting:
    """Whether the wall clock was set so far that a person should know: once, and again when it moved much further."""

    def __init__(self, much_s: float = 30.0) -> None:
        self._much_s = much_s
        self._told_s = 0.0

    def news(self, set_by_s: float) -> bool:
        """Whether this is to be told now; what was told and is over is told, too."""
        if abs(set_by_s - self._told_s) <= self._much_s:
            return False
        self._told_s = set_by_s
        return True


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
