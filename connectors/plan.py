"""Sessions that belong together, and the wire between them: who holds what decides which marks are read."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from connectors.session import AccountSession, MarketSession, Session
from monitor.model.events import AccountDelta, AccountSnapshot, Event


@dataclass(slots=True)
class Plan:
    """All sessions of one venue: a market session for each feed, an account session for each account.

    An account whose feed has no market session reads its marks itself.

    `header` describes them without secrets, enough for the venue's `revive` to make them again.
    """

    markets: dict[str, MarketSession]
    accounts: list[AccountSession]
    header: dict[str, object]
    _watched: dict[str, frozenset[str]] = field(default_factory=dict)

    def sessions(self) -> Sequence[Session]:
        """Every session; names are unique."""
        return [*self.markets.values(), *self.accounts]

    def follow(self, events: Sequence[Event], account: AccountSession, now: float) -> Sequence[Event]:
        """After events of an account: tell its market session what is wanted now, by anybody on that feed.

        Returns what the market session has to say to that. Whoever carries out actions must look at its `actions`.
        """
        feed = account.feed
        if feed not in self.markets or not any(isinstance(e, AccountSnapshot | AccountDelta) for e in events):
            return ()
        wanted = frozenset[str]().union(*(other.needs() for other in self.accounts if other.feed == feed))
        if self._watched.get(feed) == wanted:
            return ()
        self._watched[feed] = wanted
        return self.markets[feed].watch(wanted, now)
