"""A COIN-M session on stage: the common stage with COIN-M's answers and frames."""

from pathlib import Path
from random import Random
from typing import Any

from connectors import FeedSettings
from connectors.binance_coinm.product import COIN_M
from connectors.binance_common.account import AccountFeed
from connectors.binance_common.market import MarketFeed
from monitor.telemetry import Telemetry
from tests.connectors.binance.stage import LIFE_S, Stage, settings
from tests.support.stage import Fixtures

FIXTURES = Fixtures(Path(__file__).parent / "frames")
raw, load = FIXTURES.raw, FIXTURES.load
ANSWERS = {
    "account": "rest_account",
    "risk": "rest_position_risk",
    "exchange": "rest_exchange_info",
    "brackets": "rest_leverage_bracket",
}


def account_stage(**changes: Any) -> Stage:
    """An account that has not started."""
    telemetry = Telemetry()
    held = settings(feed="binance-coinm", **changes)
    stage = Stage(AccountFeed(held, LIFE_S, telemetry, Random(7), COIN_M), telemetry)
    stage.replies |= {kind: raw(name) for kind, name in ANSWERS.items()} | {"funding": b"[]"}
    return stage


def synced(**changes: Any) -> Stage:
    """An account that is in sync."""
    return account_stage(**changes).sync()


def market_stage(*instruments: str) -> tuple[Stage, MarketFeed]:
    """A market feed that watches these."""
    telemetry = Telemetry()
    feed = MarketFeed("binance-coinm", "wss://market.test", FeedSettings(), telemetry, Random(7), COIN_M)
    stage = Stage(feed, telemetry)
    stage.start()
    stage.tell(feed.watch, frozenset(instruments))
    return stage, feed
