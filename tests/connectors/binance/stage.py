"""A Binance account session on stage: canned answers, a manual clock, and short words for what happens."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import orjson

from connectors import FeedSettings
from connectors.binance.product import USD_M
from connectors.binance_common.account import AccountFeed
from connectors.binance_common.market import MarketFeed
from connectors.binance_common.settings import AccountSettings
from connectors.session import Request, Session
from monitor.book import Book
from monitor.errors import VenueError
from monitor.model.events import Event
from monitor.telemetry import Telemetry
from tests.support.booked import booked
from tests.support.stage import Fixtures
from tests.support.stage import Stage as BaseStage

FIXTURES = Fixtures(Path(__file__).parent / "frames")
LIFE_S = FeedSettings().life_s

ANSWERS = {
    "permissions": "rest_api_restrictions_read_only",
    "listen": "rest_listen_key",
    "keep": "rest_listen_key",
    "modes": "rest_account_config",
    "configs": "rest_symbol_config",
    "account": "rest_account",
    "risk": "rest_position_risk",
    "exchange": "rest_exchange_info",
    "brackets": "rest_leverage_bracket",
    "funding": "rest_funding_info",
    "indexes": "rest_asset_index",
}


raw, load = FIXTURES.raw, FIXTURES.load


def settings(**changes: Any) -> AccountSettings:
    """Settings of an account called ``main``."""
    return AccountSettings(
        **{
            "name": "main",
            "feed": "binance",
            "rest_url": "https://rest.test",
            "market_url": "wss://market.test",
            "private_url": "wss://private.test",
            "permissions_url": "https://permissions.test",
            "allow_dangerous_key": False,
            "reconcile_s": 60.0,
        }
        | changes
    )


class Stage(BaseStage):
    """Answers that a test may change."""

    def __init__(self, session: Session, telemetry: Telemetry) -> None:
        super().__init__(session, telemetry)
        self.replies: dict[str, bytes | VenueError | None] = {kind: raw(name) for kind, name in ANSWERS.items()}
        """What each kind of question is answered with; None leaves it unanswered. A fee that is not named is 0.05 %."""
        self.before_answer: Callable[[Request], None] = lambda request: None

    def frame(self, name: str | bytes, connection: str | None = None, **changes: Any) -> list[Event]:  # type: ignore[override]
        """A frame on a connection (the last that was opened): a fixture by name, or bytes as they are."""
        return super().frame(
            name if isinstance(name, bytes) else load(name) | changes if changes else raw(name), connection
        )

    def answer(self, request: Request, kind: str) -> bytes | VenueError | None:
        """As the test has it."""
        self.before_answer(request)
        if kind.startswith("fee/") and kind not in self.replies:
            return fee(kind.removeprefix("fee/"), "0.0005")
        return self.replies[kind]


def book_of(stage: Stage) -> Book:
    """The book after everything that the account told."""
    return booked(stage.session.venue, stage.events)


def weight(stage: Stage, since: int = 0) -> int:
    """What the requests of the actions from this one on cost in Binance's budget."""
    return sum(action.weight for action in stage.actions[since:] if isinstance(action, Request))


def fee(symbol: str, rate: str) -> bytes:
    """The answer to what the account pays in a symbol."""
    return orjson.dumps({"symbol": symbol, "makerCommissionRate": "0.0002", "takerCommissionRate": rate})


def account_stage(**changes: Any) -> Stage:
    """An account that has not started."""
    telemetry = Telemetry()
    return Stage(AccountFeed(settings(**changes), LIFE_S, telemetry, Random(7), USD_M), telemetry)


def synced(**changes: Any) -> Stage:
    """An account that is in sync."""
    return account_stage(**changes).sync()


def market_stage(*instruments: str) -> tuple[Stage, MarketFeed]:
    """A market feed that watches these."""
    telemetry = Telemetry()
    feed = MarketFeed("binance", "wss://market.test", FeedSettings(), telemetry, Random(7), USD_M)
    stage = Stage(feed, telemetry)
    stage.start()
    stage.tell(feed.watch, frozenset(instruments))
    return stage, feed
