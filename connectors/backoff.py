"""How long to wait before trying again."""

from random import Random


class Backoff:
    """Exponential backoff with full jitter: a uniform draw from nothing to a ceiling that doubles with each failure.

    Full jitter spreads a crowd of clients that lost the same server at the same moment
    (Exponential Backoff And Jitter, AWS Architecture Blog, 2015).
    """

    __slots__ = ("_base_s", "_cap_s", "_random", "failures")

    def __init__(self, base_s: float, cap_s: float, random: Random) -> None:
        self._base_s = base_s
        self._cap_s = cap_s
        self._random = random
        self.failures = 0

    def next(self, at_least_s: float | None = None) -> float:
        """Seconds to wait after one more failure, never less than what the venue asked for."""
        # The exponent is capped too: 2.0 ** 1024 overflows after some weeks of failures.
        ceiling_s = min(self._cap_s, self._base_s * 2.0 ** min(self.failures, 32))
        self.failures += 1
        return max(self._random.uniform(0.0, ceiling_s), at_least_s or 0.0)

    def reset(self) -> None:
        """It works again: the next failure starts from the bottom."""
        self.failures = 0
