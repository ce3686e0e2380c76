"""OKX's account session on stage: answers of a loopback server that is not on the air."""

from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any, TypeVar

import orjson

from connectors import FeedSettings
from connectors.config import KeyedAccountSettings
from connectors.okx.account import AccountFeed
from connectors.session import Request, Session
from connectors.simulator.okx import OkxServer
from monitor.errors import VenueError
from monitor.telemetry import Telemetry
from tests.support.stage import Stage as BaseStage


class Stage(BaseStage):
    """What is said on a private connection is acknowledged, and pings are answered."""

    def __init__(self, session: Session, telemetry: Telemetry) -> None:
        super().__init__(session, telemetry)
        self.server = OkxServer(self.clock)
        self.refused: dict[str, VenueError | None] = {}
        """Errors by kind of question, None for no answer at all."""
        self.login_code = "0"
        """What a log-in is answered with; 0 is good."""

    def greet(self, connection: str) -> None:
        """The log-in is answered."""
        good = self.login_code == "0"
        answer = {"event": "login", "msg": ""} if good else {"event": "error", "msg": "Login failed."}
        self.frame({**answer, "code": self.login_code, "connId": "c"}, connection)

    def heed(self, connection: str, text: str) -> None:
        """A subscription is good, a ping is answered."""
        if text == "ping":
            self.frame(b"pong", connection)
            return
        for channel in orjson.loads(text)["args"]:
            self.frame({"event": "subscribe", "arg": channel, "connId": "c"}, connection)

    def answer(self, request: Request, kind: str) -> bytes | VenueError | None:
        """What the server would answer."""
        if kind in self.refused:
            return self.refused[kind]
        asked = SimpleNamespace(path=request.path, query=dict(request.params))
        return orjson.dumps({"code": "0", "msg": "", "data": self.server.answers[request.path](asked)})


S = TypeVar("S", bound=Stage)


def synced(prepare: Callable[[Stage], object] = lambda stage: None, **changes: Any) -> Stage:
    """An account called ``main`` that is in sync; `prepare` sets the stage first."""
    return started(Stage, prepare, **changes)


def started(make: Callable[[Session, Telemetry], S], prepare: Callable[[S], object], **changes: Any) -> S:
    """The same on another kind of stage."""
    told = {
        "name": "main",
        "feed": "okx",
        "rest_url": "https://rest.test",
        "market_url": "wss://market.test",
        "private_url": "wss://private.test",
        "allow_dangerous_key": False,
        "reconcile_s": 60.0,
    }
    telemetry = Telemetry()
    feed = AccountFeed(KeyedAccountSettings(**told | changes), FeedSettings().life_s, telemetry, Random(7), "okx")
    stage = make(feed, telemetry)
    prepare(stage)
    return stage.sync()
