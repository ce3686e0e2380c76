"""Bybit's sessions on stage: answers of a loopback server that is not on the air, a manual clock, and short words."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import orjson

from connectors import FeedSettings
from connectors.bybit.account import AccountFeed
from connectors.bybit.config import AccountSettings
from connectors.bybit.market import MarketFeed
from connectors.session import Action, Connect, Disconnect, Login, Request, Send, Session
from monitor.clock import ManualClock
from monitor.errors import VenueError
from monitor.model.events import Event
from monitor.telemetry import Telemetry
from tests.support.bybit_server import BybitServer

FRAMES = Path(__file__).parent / "frames"
START_S = 1_790_000_000.0
START_MS = 1_790_000_000_000


def raw(name: str) -> bytes:
    """A fixture as it would come over the wire."""
    return orjson.dumps(load(name))


def load(name: str) -> Any:
    """A fixture as JSON."""
    return orjson.loads((FRAMES / f"{name}.json").read_bytes())


def settings(**changes: Any) -> AccountSettings:
    """Settings of an account called ``main``."""
    return AccountSettings(
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


class Stage:
    """Carries out what a session wants, as the shell would."""

    def __init__(self, session: Session, telemetry: Telemetry) -> None:
        self.session = session
        self.telemetry = telemetry
        self.clock = ManualClock(START_S)
        self.server = BybitServer(self.clock)
        self.events: list[Event] = []
        self.actions: list[Action] = []
        self.open: list[str] = []
        self.connecting = True
        self.replies = True
        """Whether what is said on a private connection is acknowledged."""
        self.refused: dict[str, VenueError | None] = {}
        """Errors by kind of question, None for no answer at all."""

    def start(self) -> None:
        """Start the session and let everything that follows happen."""
        self.tell(self.session.start)

    def tell(self, call: Callable[..., Any], *what: Any) -> list[Event]:
        """One input, and whatever follows from it at the same moment."""
        events = list(call(*what, self.clock.now()))
        self.events += events
        self._act()
        return events

    def frame(self, frame: str | bytes | dict[str, Any], connection: str | None = None) -> list[Event]:
        """A frame on a connection (the last that was opened): a fixture by name, or a frame as it is."""
        body = frame if isinstance(frame, bytes) else raw(frame) if isinstance(frame, str) else orjson.dumps(frame)
        return self.tell(self.session.received, connection or self.open[-1], body)

    def lose(self, reason: str = "the connection was lost") -> list[Event]:
        """The oldest open connection is lost."""
        return self.tell(self.session.closed, self.open.pop(0), reason)

    def pass_s(self, seconds: float) -> list[Event]:
        """Let time pass, stopping at every deadline."""
        end = self.clock.now() + seconds
        seen = len(self.events)
        while (due := self.session.deadline()) is not None and due <= end:
            self.clock.set(max(due, self.clock.now()))
            self.tell(self.session.tick)
        self.clock.set(end)
        return self.events[seen:]

    def _act(self) -> None:
        while self.session.actions:
            actions = self.session.actions[:]
            self.session.actions.clear()
            self.actions += actions
            for action in actions:
                self._perform(action)

    def _perform(self, action: Action) -> None:
        match action:
            case Connect(connection):
                if self.connecting:
                    self.open.append(connection)
                    self.events += self.session.opened(connection, self.clock.now())
                else:
                    self.events += self.session.closed(connection, "refused", self.clock.now())
            case Disconnect(connection):
                if connection in self.open:
                    self.open.remove(connection)
            case Login(connection) if self.replies:
                self.frame("ws_auth_good", connection)
            case Send(connection, text) if self.replies and '"topics"' in text:
                self.frame("ws_subscribed", connection)
            case Request():
                self._answer(action)

    def _answer(self, request: Request) -> None:
        kind = request.id.rpartition("-")[0]
        now = self.clock.now()
        error = self.refused.get(kind)
        if error is not None:
            self.events += self.session.failed(request.id, error, now)
        elif kind not in self.refused:
            self.events += self.session.responded(request.id, self._body(request), int(now * 1000), now)

    def _body(self, request: Request) -> bytes:
        """What the server would answer."""
        asked = SimpleNamespace(path=request.path, query=dict(request.params), headers={}, query_string="")
        result = self.server.answers[request.path](asked)
        return orjson.dumps({"retCode": 0, "retMsg": "OK", "result": result, "time": self.server.now_ms()})

    def of(self, kind: type[Event]) -> list[Any]:
        """Events of a kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def asked(self, kind: str) -> list[Request]:
        """Requests of a kind so far."""
        requests = [action for action in self.actions if isinstance(action, Request)]
        return [request for request in requests if request.id.rpartition("-")[0] == kind]

    def did(self, kind: type[Action]) -> list[Any]:
        """Actions of a kind so far."""
        return [action for action in self.actions if isinstance(action, kind)]

    def said(self) -> list[Any]:
        """JSON of the frames sent so far."""
        return [orjson.loads(send.text) for send in self.did(Send)]

    def bad(self, stream: str, defect: str) -> int:
        """How often a defect was counted."""
        return self.telemetry.bad_frames.get("bybit", stream, defect)


def account_stage(**changes: Any) -> Stage:
    """An account that has not started."""
    telemetry = Telemetry()
    return Stage(AccountFeed(settings(**changes), FeedSettings().life_s, telemetry, Random(7), "bybit"), telemetry)


def synced(**changes: Any) -> Stage:
    """An account that is in sync."""
    stage = account_stage(**changes)
    stage.start()
    stage.pass_s(1.0)
    return stage


def market_stage(*instruments: str) -> tuple[Stage, MarketFeed]:
    """A market feed that watches these."""
    telemetry = Telemetry()
    feed = MarketFeed("bybit", "wss://market.test", FeedSettings(), telemetry, Random(7), "bybit")
    stage = Stage(feed, telemetry)
    stage.start()
    stage.tell(feed.watch, frozenset(instruments))
    return stage, feed
