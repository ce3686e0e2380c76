"""The last hour of every shown pool's margin ratio, in a fixed amount of memory. Pure: the time is passed in."""

from collections.abc import Sequence

import numpy as np

POINTS = 180
STEP_S = 20.0
"""A point stands for this long once the ring covers its hour."""
STEP_S_MIN = 1.25
"""What a point stands for at first, so that a daemon that has just started has something to show. Doubles whenever the
ring is full, until it is `STEP_S`."""
POOLS_MAX = 1_000
"""Pools remembered: 180 points of four bytes each, 0.7 MB in all."""


class History:
    """A ring of points for each pool. Each point is the highest margin ratio that was noted while it lasted."""

    def __init__(self, pools_max: int = POOLS_MAX) -> None:
        self.step_s = STEP_S_MIN
        """What a point stands for at present."""
        self._ratios = np.full((pools_max, POINTS), np.nan, np.float32)
        self._rows: dict[str, int] = {}
        """Pool to its row, the one that was noted longest ago first."""
        self._free = list(range(pools_max - 1, -1, -1))
        self._started: float | None = None
        self._slot = 0

    def due(self, now: float) -> bool:
        """Whether `now` belongs to a point that has nothing yet."""
        return self._started is None or self._slot_at(now) > self._slot

    def note(self, now: float, pools: Sequence[str], ratios: Sequence[float]) -> None:
        """Margin ratios at `now`; nan is unknown. Beyond the bound the pools noted longest ago are forgotten."""
        self._advance(now)
        column = self._slot % POINTS
        noted = pools[: len(self._ratios)]
        for pool in noted:
            if pool in self._rows:
                self._rows[pool] = self._rows.pop(pool)  # at the end: noted last, so that no new pool takes its row
        rows = [self._row(pool) for pool in noted]
        self._ratios[rows, column] = np.fmax(self._ratios[rows, column], np.asarray(ratios, np.float32)[: len(rows)])

    def series(self, pool: str) -> list[float]:
        """The points of a pool, the oldest first, from the first that is known to the present one; nan is unknown."""
        row = self._rows.get(pool)
        if row is None:
            return []
        ends = self._slot % POINTS + 1
        ring = self._ratios[row]
        points = np.concatenate((ring[ends:], ring[:ends]))
        known = np.flatnonzero(~np.isnan(points))
        return np.round(points[known[0] :].astype(np.float64), 4).tolist() if len(known) else []

    def _slot_at(self, now: float) -> int:
        return int((now - (self._started or 0.0)) // self.step_s)

    def _row(self, pool: str) -> int:
        row = self._rows.get(pool)
        if row is None:
            row = self._free.pop() if self._free else self._rows.pop(next(iter(self._rows)))
            self._ratios[row] = np.nan
            self._rows[pool] = row
        return row

    def _advance(self, now: float) -> None:
        """Make the point of `now` the present one, and empty those that were passed over."""
        if self._started is None:
            self._started = now
        while self.step_s < STEP_S and self._slot_at(now) >= POINTS:
            self._merge()
        passed = self._slot_at(now) - self._slot
        if passed <= 0:
            return
        columns = np.arange(self._slot + 1, self._slot + 1 + min(passed, POINTS)) % POINTS
        self._ratios[:, columns] = np.nan
        self._slot += passed
        if passed >= POINTS:
            self._free.extend(self._rows.values())
            self._rows.clear()

    def _merge(self) -> None:
        """Make one point of two."""
        halved = np.fmax(self._ratios[:, ::2], self._ratios[:, 1::2])
        self._ratios[:] = np.nan
        self._ratios[:, : POINTS // 2] = halved
        self._slot //= 2
        self.step_s *= 2
