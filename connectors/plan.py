"""Sessions that belong together, and the wire between them: who holds what decides which marks are read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from connectors import FeedSettings
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


class Settings(Protocol):
    """What this needs to know of an account."""

    @property
    def name(self) -> str:
        """As configured."""
        ...

    @property
    def feed(self) -> str:
        """Where its marks come from."""
        ...

    @property
    def market_url(self) -> str:
        """The address of that."""
        ...

    def header(self) -> dict[str, object]:
        """For a recording."""
        ...


A = TypeVar("A", bound=Settings)


def feed_name(name: str, production: str, market_url: str) -> str:
    """The feed's name for production, else with the address behind it."""
    if market_url == production:
        return name
    parts = urlsplit(market_url)
    return f"{name}@{parts.netloc}{parts.path}"


def arrange(
    venue: str,
    accounts: Sequence[A],
    settings: FeedSettings,
    seed: int,
    market: Callable[[A, Random], MarketSession],
    account: Callable[[A, Random], AccountSession],
) -> Plan:
    """The sessions of these accounts. With the same seed and the same inputs they take the same path.

    `market` makes the session of an account's feed, `account` its own.
    """
    feeds = {each.feed: each for each in accounts}
    return Plan(
        {feed: market(each, Random(f"{seed}/{feed}")) for feed, each in feeds.items()},  # noqa: S311 - jitter
        [account(each, Random(f"{seed}/{each.name}")) for each in accounts],  # noqa: S311 - jitter
        {
            "venue": venue,
            "seed": seed,
            "settings": asdict(settings),
            "accounts": [each.header() for each in accounts],
        },
    )


def revive(
    header: Mapping[str, object], known: Callable[..., A], arranged: Callable[[Sequence[A], FeedSettings, int], Plan]
) -> Plan:
    """The sessions that a header describes. Raises ValueError."""
    match header:
        case {"accounts": list(accounts), "settings": dict(settings), "seed": int(seed)}:
            try:
                return arranged([known(**account) for account in accounts], FeedSettings(**settings), seed)
            except TypeError as error:
                raise ValueError(str(error)) from None
    raise ValueError("accounts, settings or seed are missing")
