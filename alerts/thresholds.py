"""At which margin ratios a pool has to be judged at once. Pure."""

from bisect import bisect_right
from math import nan

from alerts.rules.margin_ratio import MarginRatioConfig

ANY = (nan, 0.0)
"""While the figures of a pool are unknown, any known one is news."""


class Thresholds:
    """Of one ladder, (down, up): news is what is below `down`, or at or above `up`; nan for nothing.

    `safe` are those of a pool for which nothing fires and nothing waits to.
    """

    def __init__(self, ladder: MarginRatioConfig) -> None:
        rungs = [rung for _, rung in ladder.rungs()]
        self._levels = sorted({*rungs, *map(ladder.release, rungs)})
        self.safe = nan, min(rungs, default=nan)

    def around(self, ratio: float) -> tuple[float, float]:
        """The nearest levels, rungs and where they let go, on either side."""
        place = bisect_right(self._levels, ratio)
        down = self._levels[place - 1] if place > 0 else nan
        up = self._levels[place] if place < len(self._levels) else nan
        return down, up
