"""What the showing side (metrics, HTTP, state on Redis and MQTT) may ask of the deciding side."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from monitor.model.assessment import AccountSight, FeedHealth, PoolAssessment, PoolTable


class PoolSource(Protocol):
    """Read side of the book. Every call is cheap and may be made at any moment from the event loop."""

    def table(self) -> PoolTable:
        """Margin balance, maintenance margin and ratio of every pool, as they are now."""
        ...

    def assessments(self) -> Mapping[str, PoolAssessment]:
        """Pool id to its last full assessment (about a second old at most). With very many pools only the riskiest."""
        ...

    def accounts(self) -> Sequence[AccountSight]:
        """How well each account is seen, those without a pool included."""
        ...

    def health(self) -> Sequence[FeedHealth]:
        """Every stream's health."""
        ...

    def ready(self) -> tuple[bool, tuple[str, ...]]:
        """Whether every account is in sync and fresh, and if not, one sentence for each that is not."""
        ...
