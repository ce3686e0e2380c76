"""When the definitions of contracts are asked for: tiers, fees and funding intervals. Pure; time is passed in.

They change without an event and are read again on a timer. What a venue did not tell is asked for sooner, after pauses
that grow: a contract that it never describes must not use up the requests of every account behind the address.
"""

from collections.abc import Collection, Iterable
from math import inf

from connectors.backoff import Backoff


class DefinitionTimes:
    """From when on each contract is to be asked for; one that never was is due at once."""

    def __init__(self, every_s: float, backoff: Backoff) -> None:
        self._every_s = every_s
        self._backoff = backoff
        self._due_at: dict[str, float] = {}
        self._lacking: frozenset[str] = frozenset()

    def fresh(self, now: float) -> frozenset[str]:
        """Contracts that need not be asked for at present."""
        return frozenset(symbol for symbol, due_at in self._due_at.items() if due_at > now)

    def asked(self, symbols: Collection[str], lacking: Collection[str], now: float) -> None:
        """These were asked for, and of some of them not everything was told."""
        if not self._lacking.issuperset(lacking):
            self._backoff.reset()  # the pauses of one that is never described are not another's
        again_at = now + self._backoff.next() if lacking else inf
        for symbol in symbols:
            self._due_at[symbol] = again_at if symbol in lacking else now + self._every_s
        self._lacking = self._lacking.difference(symbols).union(lacking)

    def next(self, held: Iterable[str]) -> float | None:
        """When the first of these contracts is due; None without any."""
        return min((self._due_at.get(symbol, -inf) for symbol in held), default=None)
