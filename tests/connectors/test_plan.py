"""Sessions that belong together: made, made again from a recording's header, and told what is wanted."""

from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import pytest

from connectors import FeedSettings, plan
from connectors.plan import Plan
from monitor.model.account import Wallet
from monitor.model.events import AccountDelta, Marks

DELTA = AccountDelta("venue", "main", 1, "event", (Wallet("BTC", 1.0, 0),), ())


@dataclass(frozen=True)
class Settings:
    """One account."""

    name: str
    feed: str
    market_url: str = "wss://market.test"

    def header(self) -> dict[str, object]:
        """For a recording."""
        return asdict(self)


class Session:
    """A session that only remembers."""

    def __init__(self, settings: Settings, random: Random) -> None:
        self.settings = settings
        self.feed = settings.feed
        self.drawn = random.random()
        self.watched: list[frozenset[str]] = []
        self.needed: frozenset[str] = frozenset()

    def watch(self, instruments: frozenset[str], now: float) -> list[Any]:
        """As a market session."""
        self.watched.append(instruments)
        return []

    def needs(self) -> frozenset[str]:
        """As an account session."""
        return self.needed


def arranged(accounts: Any, settings: FeedSettings, seed: int) -> Plan:
    """Sessions that only remember."""
    return plan.arrange("venue", accounts, settings, seed, Session, Session)  # type: ignore[arg-type]


ACCOUNTS = [Settings("a", "one"), Settings("b", "one"), Settings("c", "two", "wss://other.test")]


def test_there_is_a_market_session_for_each_feed_and_one_for_each_account() -> None:
    """Accounts of one feed read the same marks."""
    made = arranged(ACCOUNTS, FeedSettings(), 7)
    assert list(made.markets) == ["one", "two"]
    assert [session.settings.name for session in made.accounts] == ["a", "b", "c"]  # type: ignore[attr-defined]
    assert len(made.sessions()) == 5


def test_a_header_makes_the_same_sessions_again() -> None:
    """Down to what they draw."""
    made = arranged(ACCOUNTS, FeedSettings(mark_s=3.0), 7)
    again = plan.revive(made.header, Settings, arranged)
    assert again.header == made.header
    assert [s.drawn for s in again.sessions()] == [s.drawn for s in made.sessions()]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"accounts": [], "settings": {}, "seed": "7"},
        {"accounts": [{"nobody": 1}], "settings": {}, "seed": 7},
        {"accounts": [], "settings": {"nothing": 1}, "seed": 7},
    ],
    ids=["empty", "a seed that is no number", "an account of other keys", "settings of other keys"],
)
def test_a_header_that_cannot_be_used_is_refused(header: dict[str, object]) -> None:
    """With one kind of error."""
    with pytest.raises(ValueError, match=r"."):
        plan.revive(header, Settings, arranged)


def test_feeds_are_named_by_their_address() -> None:
    """But for production's."""
    assert plan.feed_name("venue", "wss://here", "wss://here") == "venue"
    assert plan.feed_name("venue", "wss://here", "wss://there:1/ws") == "venue@there:1/ws"


def test_a_market_session_is_told_what_all_its_accounts_need_when_that_changes() -> None:
    """And only then."""
    made = arranged(ACCOUNTS, FeedSettings(), 7)
    first, second, _ = made.accounts
    first.needed, second.needed = frozenset({"BTC"}), frozenset({"ETH"})  # type: ignore[attr-defined]
    made.follow([DELTA], first, 1.0)
    made.follow([DELTA], second, 2.0)
    made.follow([Marks("one", ("BTC",), (1.0,), (1,))], first, 3.0)
    second.needed = frozenset()  # type: ignore[attr-defined]
    made.follow([DELTA], second, 4.0)
    assert made.markets["one"].watched == [frozenset({"BTC", "ETH"}), frozenset({"BTC"})]  # type: ignore[attr-defined]
    assert made.markets["two"].watched == []  # type: ignore[attr-defined]
