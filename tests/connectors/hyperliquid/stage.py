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
from connectors.session import Action, Connect, Disconnect, Request, Send, Session
from monitor.clock import ManualClock
from monitor.errors import VenueError
from monitor.model.events import Event
from monitor.telemetry import Telemetry

FRAMES = Path(__file__).parent / "frames"
START_S = 1_790_000_000.0
START_MS = 1_790_000_000_000
LIFE_S = FeedSettings().life_s
ADDRESS = "0x" + "ab" * 20

ANSWERS = {
    "dexes": "rest_perp_dexs",
    "assets": "rest_all_perp_metas",
    "mode": "rest_user_abstraction_disabled",
    "spot": "rest_spot_clearinghouse_state",
    "state:": "rest_clearinghouse_state",
    "state:xyz": "rest_clearinghouse_state_flat",
    "role": "rest_user_role",
}


def load(name: str) -> Any:
    """A fixture as JSON."""
    return orjson.loads((FRAMES / f"{name}.json").read_bytes())


def raw(name: str) -> bytes:
    """A fixture as it would come over the wire."""
    return orjson.dumps(load(name))


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
            "poll_s": None,
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
        self.replies: dict[str, Any] = {kind: load(name) for kind, name in ANSWERS.items()}
        """What each kind of question is answered with: JSON, bytes as they are, or an error; `NOTHING` is no answer."""
        self.stamped = True
        """Whether states bear the time at which they are asked for, as they would; else the one of their fixture."""
        self.answering: Callable[[Request], None] = lambda request: None

    # --- what happens

    def start(self) -> None:
        """Start the session and let everything that follows happen."""
        self.tell(self.session.start)

    def tell(self, call: Callable[..., Any], *what: Any) -> list[Event]:
        """One input, and whatever follows from it at the same moment."""
        before = len(self.events)
        self.events += call(*what, self.clock.now())
        self._act()
        return self.events[before:]

    def frame(self, body: bytes | dict[str, Any], connection: str | None = None) -> list[Event]:
        """A frame on a connection (the last that was opened)."""
        text = body if isinstance(body, bytes) else orjson.dumps(body)
        return self.tell(self.session.received, connection or self.open[-1], text)

    def states(self, *, at_s: float | None = None, user: str = ADDRESS, **dexes: Any) -> list[Event]:
        """A frame of states at a moment (now): of the main dex (as `main`) and of others by name."""
        at_ms = int((self.clock.now() if at_s is None else at_s) * 1000)
        pairs = [["" if dex == "main" else dex, state | {"time": at_ms}] for dex, state in dexes.items()]
        data = {"user": user, "clearinghouseStates": pairs}
        return self.frame({"channel": "allDexsClearinghouseState", "data": data})

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
                self.open.append(connection)
                self.events += self.session.opened(connection, self.clock.now())
            case Disconnect(connection):
                if connection in self.open:
                    self.open.remove(connection)
            case Request():
                self._answer(action)

    def _answer(self, request: Request) -> None:
        self.answering(request)
        kind = request.id.rpartition("-")[0]
        reply, now = self.replies[kind], self.clock.now()
        if reply is NOTHING:
            return
        if isinstance(reply, VenueError):
            self.events += self.session.failed(request.id, reply, now)
            return
        if kind.startswith("state:") and self.stamped and isinstance(reply, dict):
            reply = reply | {"time": int(now * 1000)}
        body = reply if isinstance(reply, bytes) else orjson.dumps(reply)
        self.events += self.session.responded(request.id, body, int(now * 1000), now)

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
        return self.telemetry.bad_frames.get("hyperliquid", stream, defect)


NOTHING = object()


def account_stage(**changes: Any) -> Stage:
    """An account that has not started."""
    telemetry = Telemetry()
    return Stage(AccountFeed(settings(**changes), LIFE_S, telemetry, Random(7), "hyperliquid"), telemetry)


def synced(**changes: Any) -> Stage:
    """An account that is in sync."""
    stage = account_stage(**changes)
    stage.start()
    stage.pass_s(1.0)
    return stage


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


def held(state: dict[str, Any], coin: str, **fields: Any) -> dict[str, Any]:
    """A state with other fields in one position, or without it when none are given."""
    changed = deepcopy(state)
    rows = changed["assetPositions"]
    if not fields:
        changed["assetPositions"] = [row for row in rows if row["position"]["coin"] != coin]
    for row in rows:
        if row["position"]["coin"] == coin:
            row["position"] |= fields
    return changed
