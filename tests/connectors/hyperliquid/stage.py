"""Hyperliquid sessions on stage: canned answers, a manual clock, and short words for what happens."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import orjson

from connectors import FeedSettings
from connectors.hyperliquid.account import AccountFeed
from connectors.hyperliquid.config import AccountSettings
from connectors.hyperliquid.market import MarketFeed
from connectors.hyperliquid.rest import WEIGHT_PER_MINUTE
from connectors.hyperliquid.stream import PING
from connectors.rest import BUDGET_SHARE
from connectors.session import Request, Session
from monitor.errors import VenueError
from monitor.model.events import Event
from monitor.telemetry import Telemetry
from tests.support.stage import Fixtures
from tests.support.stage import Stage as BaseStage

FIXTURES = Fixtures(Path(__file__).parent / "frames")
LIFE_S = FeedSettings().life_s
ADDRESS = "0x" + "ab" * 20

ANSWERS = {
    "dexes": "rest_perp_dexs",
    "assets": "rest_all_perp_metas",
    "fees": "rest_user_fees",
    "mode": "rest_user_abstraction_disabled",
    "spot": "rest_spot_clearinghouse_state",
    "state:": "rest_clearinghouse_state",
    "state:xyz": "rest_clearinghouse_state_flat",
    "role": "rest_user_role",
}


raw, load = FIXTURES.raw, FIXTURES.load
NOTHING = object()


def settings(**changes: Any) -> AccountSettings:
    """Settings of an account called ``main``."""
    return AccountSettings(
        **{
            "name": "main",
            "address": ADDRESS,
            "feed": "hyperliquid",
            "rest_url": "https://rest.test",
            "market_url": "wss://market.test",
            "private_url": "wss://private.test",
            "reconcile_s": 60.0,
            "streamed": True,
            "weight_per_minute": WEIGHT_PER_MINUTE * BUDGET_SHARE,
        }
        | changes
    )


class Stage(BaseStage):
    """Answers that a test may change."""

    def __init__(self, session: Session, telemetry: Telemetry) -> None:
        super().__init__(session, telemetry)
        self.replies: dict[str, Any] = {kind: load(name) for kind, name in ANSWERS.items()}
        """What each kind of question is answered with: JSON, bytes as they are, or an error; `NOTHING` is no answer."""
        self.stamped = True
        """Whether states bear the time at which they are asked for, as they would; else the one of their fixture."""
        self.ponging = True
        """Whether pings are answered."""
        self.refusal = ""
        """What subscriptions to an address are refused with; nothing when they are acknowledged."""
        self.unacknowledged: set[str] = set()
        """Streams whose subscriptions are not answered."""

    def tell(self, call: Callable[..., Any], *what: Any) -> list[Event]:
        """One input, and whatever follows from it at the same moment."""
        before = len(self.events)
        super().tell(call, *what)
        return self.events[before:]

    def states(self, *, at_s: float | None = None, user: str = ADDRESS, **dexes: Any) -> list[Event]:
        """A frame of states at a moment (now): of the main dex (as `main`) and of others by name."""
        at_ms = int((self.clock.now() if at_s is None else at_s) * 1000)
        pairs = [["" if dex == "main" else dex, state | {"time": at_ms}] for dex, state in dexes.items()]
        data = {"user": user, "clearinghouseStates": pairs}
        return self.frame({"channel": "allDexsClearinghouseState", "data": data})

    def heed(self, connection: str, text: str) -> None:
        """A ping is answered, and a subscription acknowledged or refused."""
        if connection not in self.open:
            return
        message = orjson.loads(text)
        wanted = message.get("subscription", {})
        frame: dict[str, Any] | None = None
        if text == PING and self.ponging:
            frame = load("ws_pong")
        elif "user" in wanted and self.refusal:
            frame = load("ws_error") | {"data": self.refusal}
        elif "user" in wanted and wanted["type"] not in self.unacknowledged:
            frame = load("ws_subscribed") | {"data": message}
        if frame is not None:
            self.events += self.session.received(connection, orjson.dumps(frame), self.clock.now())

    def answer(self, request: Request, kind: str) -> bytes | VenueError | None:
        """As the test has it."""
        reply = self.replies[kind]
        if reply is NOTHING or isinstance(reply, VenueError | bytes):
            return None if reply is NOTHING else reply
        if kind.startswith("state:") and self.stamped and isinstance(reply, dict):
            reply = reply | {"time": int(self.clock.now() * 1000)}
        return orjson.dumps(reply)


def account_stage(**changes: Any) -> Stage:
    """An account that has not started."""
    telemetry = Telemetry()
    return Stage(AccountFeed(settings(**changes), LIFE_S, telemetry, Random(7), "hyperliquid"), telemetry)


def synced(**changes: Any) -> Stage:
    """An account that is in sync."""
    return account_stage(**changes).sync()


def market_stage(*coins: str) -> tuple[Stage, MarketFeed]:
    """A market feed that watches these."""
    telemetry = Telemetry()
    feed = MarketFeed("hyperliquid", "wss://market.test", FeedSettings(), telemetry, Random(7), "hyperliquid")
    stage = Stage(feed, telemetry)
    stage.start()
    stage.tell(feed.watch, frozenset(coins))
    return stage, feed


def context(coin: str, price: str) -> dict[str, Any]:
    """A frame with a coin's mark."""
    frame: dict[str, Any] = deepcopy(load("ws_active_asset_ctx"))
    frame["data"]["coin"] = coin
    frame["data"]["ctx"]["markPx"] = price
    return frame


def held(state: dict[str, Any], coin: str, /, **fields: Any) -> dict[str, Any]:
    """A state with other fields in one position, or without it when none are given."""
    changed = deepcopy(state)
    rows = changed["assetPositions"]
    if not fields:
        changed["assetPositions"] = [row for row in rows if row["position"]["coin"] != coin]
    for row in rows:
        if row["position"]["coin"] == coin:
            row["position"] |= fields
    return changed
