"""Bybit's sessions on stage: answers of a loopback server that is not on the air, a manual clock, and short words."""

from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import orjson

from connectors import FeedSettings
from connectors.bybit.account import AccountFeed
from connectors.bybit.market import MarketFeed
from connectors.config import KeyedAccountSettings
from connectors.session import Request, Session
from connectors.simulator.bybit import BybitServer
from monitor.errors import VenueError
from monitor.model.events import Event
from monitor.telemetry import Telemetry
from tests.support.stage import Fixtures
from tests.support.stage import Stage as BaseStage

FIXTURES = Fixtures(Path(__file__).parent / "frames")


raw, load = FIXTURES.raw, FIXTURES.load


def settings(**changes: Any) -> KeyedAccountSettings:
    """Settings of an account called ``main``."""
    return KeyedAccountSettings(
        **{
            "name": "main",
            "feed": "bybit",
            "rest_url": "https://rest.test",
            "market_url": "wss://market.test",
            "private_url": "wss://private.test",
            "allow_dangerous_key": False,
            "reconcile_s": 60.0,
        }
        | changes
    )


class Stage(BaseStage):
    """Answers of a loopback server that is not on the air."""

    def __init__(self, session: Session, telemetry: Telemetry) -> None:
        super().__init__(session, telemetry)
        self.server = BybitServer(self.clock)
        self.replies = True
        """Whether what is said on a private connection is acknowledged."""
        self.refused: dict[str, VenueError | None] = {}
        """Errors by kind of question, None for no answer at all."""

    def frame(self, frame: str | bytes | dict[str, Any], connection: str | None = None) -> list[Event]:
        """A frame on a connection (the last that was opened): a fixture by name, or a frame as it is."""
        return super().frame(raw(frame) if isinstance(frame, str) else frame, connection)

    def greet(self, connection: str) -> None:
        """The log-in is good."""
        if self.replies:
            self.frame("ws_auth_good", connection)

    def heed(self, connection: str, text: str) -> None:
        """A subscription is good."""
        if self.replies and '"topics"' in text:
            self.frame("ws_subscribed", connection)

    def answer(self, request: Request, kind: str) -> bytes | VenueError | None:
        """What the server would answer."""
        return self.refused[kind] if kind in self.refused else self._body(request)

    def _body(self, request: Request) -> bytes:
        asked = SimpleNamespace(path=request.path, query=dict(request.params), headers={}, query_string="")
        result = self.server.answers[request.path](asked)
        return orjson.dumps({"retCode": 0, "retMsg": "OK", "result": result, "time": self.server.now_ms()})


def account_stage(**changes: Any) -> Stage:
    """An account that has not started."""
    telemetry = Telemetry()
    return Stage(AccountFeed(settings(**changes), FeedSettings().life_s, telemetry, Random(7), "bybit"), telemetry)


def synced(**changes: Any) -> Stage:
    """An account that is in sync."""
    return account_stage(**changes).sync()


def market_stage(*instruments: str) -> tuple[Stage, MarketFeed]:
    """A market feed that watches these."""
    telemetry = Telemetry()
    feed = MarketFeed("bybit", "wss://market.test", FeedSettings(), telemetry, Random(7), "bybit")
    stage = Stage(feed, telemetry)
    stage.start()
    stage.tell(feed.watch, frozenset(instruments))
    return stage, feed
