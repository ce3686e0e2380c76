"""When what may go on from its last good answer is asked for again. Pure; time is passed in.

A snapshot is believed when positions, balances and the account's mode were told. What else makes figures of them
(contracts, tiers, fees, collateral ratios, which parts a venue has) changes seldom and without an event: it is read
again on a timer, and where it is not told, the last good answer stands and it is asked for sooner, after pauses that
grow. What never was told is unknown. Neither a question that nobody answers nor a contract that the venue never
describes is to use up the requests of every account behind the address.
"""

from collections.abc import Collection, Iterable
from math import inf

from connectors.backoff import Backoff


class DefinitionTimes:
    """From when on each contract, or question, is to be asked for; one that never was is due at once."""

    def __init__(self, every_s: float, backoff: Backoff, *, soonest_s: float = 0.0) -> None:
        self._every_s = every_s
        self._backoff = backoff
        self._soonest_s = soonest_s
        self._due_at: dict[str, float] = {}
        self.lacking: frozenset[str] = frozenset()
        """Those of which not everything was told when they were last asked for."""

    def fresh(self, now: float) -> frozenset[str]:
        """Names that need not be asked for at present."""
        return frozenset(name for name, due_at in self._due_at.items() if due_at > now)

    def is_due(self, name: str, now: float) -> bool:
        """Whether to ask for this one with the next round."""
        return self._due_at.get(name, -inf) <= now

    def asked(self, names: Collection[str], lacking: Collection[str], now: float) -> None:
        """These were asked for, and of some of them not everything was told."""
        if not self.lacking.issuperset(lacking):
            self._backoff.reset()  # the pauses of one that is never described are not another's
        again_at = now + self._backoff.next(self._soonest_s) if lacking else inf
        for name in names:
            self._due_at[name] = again_at if name in lacking else now + self._every_s
        self.lacking = self.lacking.difference(names).union(lacking)

    def want(self, name: str) -> None:
        """Something shows that what is known of this one is not all."""
        self._due_at.pop(name, None)

    def next(self, held: Iterable[str]) -> float | None:
        """When the first of these is due; None without any."""
        return min((self._due_at.get(name, -inf) for name in held), default=None)
