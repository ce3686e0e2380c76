"""Storage for the book: growing flat arrays with free lists, and for each instrument the list of its legs.

Rows are reused, never moved, so an index stays valid while its leg or pool lives. Growing replaces the arrays; whoever
holds views of them asks again (`version` changes).
"""

from math import inf, nan
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from monitor.kernel import ALPHA, BASE_BALANCE, BETA, DOWN, HIGH, LEG_WIDTH, LOW, POOL_WIDTH, UP

_T = TypeVar("_T", bound=np.generic)
_FIRST_CAPACITY = 64
NONE = -1


class Rows:
    """Indices of a table: which are in use, which are free."""

    __slots__ = ("capacity", "free", "used")

    def __init__(self) -> None:
        self.capacity = 0
        self.used = 0
        self.free: list[int] = []

    def take(self) -> int | None:
        """A free row, or None when the table must grow first."""
        if self.free:
            return self.free.pop()
        if self.used == self.capacity:
            return None
        self.used += 1
        return self.used - 1

    def give_back(self, row: int) -> None:
        """Mark a row as free."""
        self.free.append(row)


class LegTable:
    """Legs: the kernel's rows and what only the slow path needs.

    `next_in_pool` chains the legs of one pool (`PoolRows.first_leg` is its head). `position` is the leg's place in its
    instrument's list. `size` is signed, in contracts; `leverage` is nan while unknown; `updated_ms` is the venue's time
    of the newest news about the leg.
    """

    __slots__ = (
        "_adl_rank",
        "instrument",
        "leverage",
        "next_in_pool",
        "pool",
        "position",
        "rows",
        "size",
        "table",
        "updated_ms",
        "version",
    )

    def __init__(self) -> None:
        self.rows = Rows()
        self.version = 0
        self.table: NDArray[np.float64] = np.empty(0)
        self.pool: NDArray[np.int32] = np.empty(0, np.int32)
        self.instrument: NDArray[np.int32] = np.empty(0, np.int32)
        self.position: NDArray[np.int32] = np.empty(0, np.int32)
        self.next_in_pool: NDArray[np.int32] = np.empty(0, np.int32)
        self.size: NDArray[np.float64] = np.empty(0)
        self.leverage: NDArray[np.float32] = np.empty(0, np.float32)
        self._adl_rank: NDArray[np.int8] = np.empty(0, np.int8)
        self.updated_ms: NDArray[np.int64] = np.empty(0, np.int64)

    def new(self) -> int:
        """A zeroed row."""
        row = self.rows.take()
        while row is None:
            self._grow(_more(self.rows.capacity))
            row = self.rows.take()
        at = row * LEG_WIDTH
        self.table[at : at + LEG_WIDTH] = 0.0
        self.table[at + ALPHA], self.table[at + BETA] = 0.0, 0.0
        self.table[at + LOW], self.table[at + HIGH] = 0.0, inf
        self.next_in_pool[row] = NONE
        return row

    def adl_rank(self, leg: int) -> int | None:
        """What was set last, None where the venue does not say."""
        rank = int(self._adl_rank[leg])
        return None if rank == NONE else rank

    def set_adl_rank(self, leg: int, rank: int | None) -> None:
        """Set the place in the queue for auto-deleveraging of the position that is in the row now."""
        self._adl_rank[leg] = NONE if rank is None else rank

    def _grow(self, capacity: int) -> None:
        self.table = _grown(self.table, capacity * LEG_WIDTH)
        for name in ("pool", "instrument", "position", "next_in_pool", "size", "leverage", "_adl_rank", "updated_ms"):
            setattr(self, name, _grown(getattr(self, name), capacity))
        self.rows.capacity = capacity
        self.version += 1


class PoolRows:
    """Pools: the kernel's rows, the head of each pool's chain of legs, and how many of its marks are missing."""

    __slots__ = ("first_leg", "missing", "rows", "table", "turn", "version")

    def __init__(self) -> None:
        self.rows = Rows()
        self.version = 0
        self.table: NDArray[np.float64] = np.empty(0)
        self.turn: NDArray[np.int64] = np.empty(0, np.int64)
        self.first_leg: NDArray[np.int32] = np.empty(0, np.int32)
        self.missing: NDArray[np.int32] = np.empty(0, np.int32)

    def new(self) -> int:
        """A zeroed row without legs and without thresholds."""
        row = self.rows.take()
        while row is None:
            self._grow(_more(self.rows.capacity))
            row = self.rows.take()
        at = row * POOL_WIDTH
        self.table[at + BASE_BALANCE : at + POOL_WIDTH] = 0.0
        self.table[at + UP] = self.table[at + DOWN] = nan
        self.first_leg[row] = NONE
        self.missing[row] = 0
        return row

    def _grow(self, capacity: int) -> None:
        self.table = _grown(self.table, capacity * POOL_WIDTH)
        for name in ("turn", "first_leg", "missing"):
            setattr(self, name, _grown(getattr(self, name), capacity))
        self.rows.capacity = capacity
        self.version += 1


class InstrumentLists:
    """For each instrument the legs it prices, in one flat array with room to grow in place.

    A list that is full moves to the end with twice the room; holes are closed when they take more than half.
    """

    __slots__ = ("_rooms", "_used", "count", "lengths", "slots", "starts", "version")

    def __init__(self) -> None:
        self.version = 0
        self.count = 0
        self.slots: NDArray[np.int32] = np.empty(0, np.int32)
        self.starts: NDArray[np.int64] = np.empty(0, np.int64)
        self.lengths: NDArray[np.int64] = np.empty(0, np.int64)
        self._rooms: NDArray[np.int64] = np.empty(0, np.int64)
        self._used = 0

    def new(self) -> int:
        """A new instrument without legs."""
        if self.count == len(self.starts):
            capacity = max(_FIRST_CAPACITY, self.count * 2)
            self.starts = _grown(self.starts, capacity)
            self.lengths = _grown(self.lengths, capacity)
            self._rooms = _grown(self._rooms, capacity)
            self.version += 1
        self.count += 1
        return self.count - 1

    def add(self, instrument: int, leg: int) -> int:
        """Append a leg; returns its place in the list."""
        length = int(self.lengths[instrument])
        if length == self._rooms[instrument]:
            self._move(instrument, max(4, length * 2))
        self.slots[self.starts[instrument] + length] = leg
        self.lengths[instrument] = length + 1
        return length

    def remove(self, instrument: int, position: int) -> int | None:
        """Take out the leg at `position`; the last one takes its place and is returned, None if it was the last."""
        last = int(self.lengths[instrument]) - 1
        self.lengths[instrument] = last
        if position == last:
            return None
        start = int(self.starts[instrument])
        moved = int(self.slots[start + last])
        self.slots[start + position] = moved
        return moved

    def legs(self, instrument: int) -> NDArray[np.int32]:
        """The legs of an instrument, as a view."""
        start = int(self.starts[instrument])
        return self.slots[start : start + int(self.lengths[instrument])]

    def _move(self, instrument: int, room: int) -> None:
        legs = self.legs(instrument).copy()
        self._rooms[instrument] = 0
        needed = int(self._rooms.sum()) + room
        if self._used + room > len(self.slots):
            if needed * 2 <= len(self.slots):
                self._close_holes(len(self.slots))
            else:
                self._close_holes(max(_FIRST_CAPACITY, needed * 3 // 2))
        self.starts[instrument] = self._used
        self._rooms[instrument] = room
        self._used += room
        self.slots[self.starts[instrument] : self.starts[instrument] + len(legs)] = legs

    def _close_holes(self, capacity: int) -> None:
        slots = np.zeros(capacity, np.int32)
        at = 0
        for instrument in range(self.count):
            room = int(self._rooms[instrument])
            if room:
                legs = self.legs(instrument)
                slots[at : at + len(legs)] = legs
                self.starts[instrument] = at
                at += room
        self.slots = slots
        self._used = at
        self.version += 1


def _more(capacity: int) -> int:
    """Room for half as much again, for a fifth where that is much."""
    return max(_FIRST_CAPACITY, capacity + (capacity // 2 if capacity < 10_000 else capacity // 5))


def _grown(array: NDArray[_T], capacity: int) -> NDArray[_T]:
    grown = np.zeros(capacity, array.dtype)
    grown[: len(array)] = array
    return grown
