"""Counters that the hot path can afford: plain integers, read when somebody asks.

One `Telemetry` is made by the root and handed to whoever counts; there is no global.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence

TICK_BUCKETS_S = (
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 1.0,
)  # fmt: skip


class Counter:
    """Monotonic counts by label values, in the order of `labels`."""

    __slots__ = ("_counts", "labels")

    def __init__(self, *labels: str) -> None:
        self.labels = labels
        self._counts: defaultdict[tuple[str, ...], int] = defaultdict(int)

    def add(self, *values: str, amount: int = 1) -> None:
        """Count `amount` more for these label values."""
        self._counts[values] += amount

    def get(self, *values: str) -> int:
        """The count for these label values."""
        return self._counts.get(values, 0)

    def items(self) -> Mapping[tuple[str, ...], int]:
        """A copy of all counts."""
        return dict(self._counts)


class Histogram:
    """Counts of observations by upper bound, in seconds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = TICK_BUCKETS_S) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


class Telemetry:
    """All counters of one daemon."""

    __slots__ = (
        "alerts", "assess_failures", "bad_frames", "blind_seconds", "book_drift_ratio", "connects", "delivered_at",
        "deliveries", "frames", "heartbeats", "persist_failures", "reconciliations", "tick_seconds", "ticks",
        "venue_errors",
    )  # fmt: skip

    def __init__(self) -> None:
        self.ticks = 0
        self.tick_seconds = Histogram()
        self.book_drift_ratio = 0.0
        """Largest relative difference found when pool totals were last rebuilt from the legs; should be rounding."""
        self.blind_seconds: dict[tuple[str, str], float] = {}
        """(venue, account) to how long something of it could not be seen, since the start."""
        self.delivered_at: dict[str, float] = {}
        """Sink to when it last took an alert, in seconds since the epoch."""
        self.alerts = Counter("rule", "severity", "state")
        self.deliveries = Counter("sink", "outcome")
        self.reconciliations = Counter("venue", "account", "outcome")
        self.frames = Counter("venue", "stream")
        self.bad_frames = Counter("venue", "stream", "reason")
        self.connects = Counter("venue", "stream", "outcome")
        self.venue_errors = Counter("venue", "code")
        self.heartbeats = Counter("outcome")
        self.persist_failures = 0
        self.assess_failures = 0
        """Pools that could not be assessed because of a fault of ours; each is shown as unknown."""
