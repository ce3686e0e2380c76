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
from connectors.session import Action, Connect, Disconnect, Request, Send, Session
from monitor.clock import ManualClock
from monitor.errors import VenueError
from monitor.model.events import Event
from monitor.telemetry import Telemetry

FRAMES = Path(__file__).parent / "frames"
START_S = 1_790_000_000.0
START_MS = 1_790_000_000_000
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
    "indexes": "rest_asset_index",
}


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


class Stage:
    """Carries out what a session wants, as the shell would, against answers that a test may change."""

    def __init__(self, session: Session, telemetry: Telemetry) -> None:
        self.session = session
        self.telemetry = telemetry
        self.clock = ManualClock(START_S)
        self.events: list[Event] = []
        self.actions: list[Action] = []
        self.open: list[str] = []
        self.replies: dict[str, bytes | VenueError | None] = {kind: raw(name) for kind, name in ANSWERS.items()}
        """What each kind of question is answered with; None leaves it unanswered."""
        self.connecting = True
        """Whether connections can be made; None leaves them hanging."""
        self.before_answer: Callable[[Request], None] = lambda request: None

    # --- what happens

    def start(self) -> None:
        """Start the session and let everything that follows happen."""
        self.tell(self.session.start)

    def tell(self, call: Callable[..., Any], *what: Any) -> list[Event]:
        """One input, and whatever follows from it at the same moment."""
        events = list(call(*what, self.clock.now()))
        self.events += events
        self._act()
        return events

    def frame(self, name: str | bytes, connection: str | None = None, **changes: Any) -> list[Event]:
        """A frame on a connection (the last that was opened): a fixture by name, or bytes as they are."""
        body = name if isinstance(name, bytes) else orjson.dumps(load(name) | changes) if changes else raw(name)
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
            case Request():
                self._answer(action)

    def _answer(self, request: Request) -> None:
        self.before_answer(request)
        reply = self.replies[request.id.rpartition("-")[0]]
        now = self.clock.now()
        if isinstance(reply, VenueError):
            self.events += self.session.failed(request.id, reply, now)
        elif reply is not None:
            self.events += self.session.responded(request.id, reply, int(now * 1000), now)

    # --- what was seen

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
        return self.telemetry.bad_frames.get("binance", stream, defect)


def account_stage(**changes: Any) -> Stage:
    """An account that has not started."""
    telemetry = Telemetry()
    return Stage(AccountFeed(settings(**changes), LIFE_S, telemetry, Random(7), USD_M), telemetry)


def synced(**changes: Any) -> Stage:
    """An account that is in sync."""
    stage = account_stage(**changes)
    stage.start()
    stage.pass_s(1.0)
    return stage


def market_stage(*instruments: str) -> tuple[Stage, MarketFeed]:
    """A market feed that watches these."""
    telemetry = Telemetry()
    feed = MarketFeed("binance", "wss://market.test", FeedSettings(), telemetry, Random(7), USD_M)
    stage = Stage(feed, telemetry)
    stage.start()
    stage.tell(feed.watch, frozenset(instruments))
    return stage, feed
