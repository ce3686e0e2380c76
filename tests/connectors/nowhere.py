"""A venue that is nothing but what all venues are, for the tests of what their accounts share.

Its account is a mapping from coin to balance, its events name a coin that changed, and its snapshot is one question for
the balances and one for a note that can be done without.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson

from connectors.keyed import KeyedAccount
from connectors.private import PrivateStream
from connectors.session import Request
from connectors.wire import BadFrame, Defect
from monitor.errors import ConfigurationError, Fault, MarginwatchError, VenueError
from monitor.model.account import AccountMode, PositionMode, Wallet
from monitor.model.assessment import FeedState
from monitor.model.events import AccountSnapshot, Event, FeedChanged, SnapshotReason
from monitor.telemetry import Telemetry
from tests.support.stage import Stage as BaseStage

RECONCILE_S = 60.0
AGAIN = VenueError("not now", retry=True)
NEVER = VenueError("never", retry=False)


@dataclass(frozen=True)
class Settings:
    """One account."""

    name: str = "main"
    feed: str = "somewhere"
    reconcile_s: float = RECONCILE_S
    allow_dangerous_key: bool = False


@dataclass
class Round:
    """``state`` and, if there is one, ``note``."""

    reason: SnapshotReason
    link: str | None
    missing: set[str] = field(default_factory=lambda: {"state", "note"})
    state: dict[str, float] = field(default_factory=dict)
    spoiled: bool = False

    def take(self, kind: str, body: bytes, sent_ms: int) -> Collection[str]:
        """An answer; ``spoiled`` shows only when all are together."""
        if body == b"?":
            raise BadFrame(Defect.JSON, "not readable")
        self.missing.discard(kind)
        if kind == "state":
            self.spoiled = body == b"spoiled"
            self.state = {} if self.spoiled else orjson.loads(body)
        return ()

    def do_without(self, kind: str) -> Collection[str] | None:
        """The note."""
        if kind != "note":
            return None
        self.missing.discard(kind)
        return ()


class Account(KeyedAccount[Round, str]):
    """The venue."""

    def __init__(self, telemetry: Telemetry, *, allow_dangerous_key: bool = False, streaming: bool = True) -> None:
        settings = Settings(allow_dangerous_key=allow_dangerous_key)
        super().__init__("somewhere", settings, 86_400.0, telemetry, Random(7))
        self._private = PrivateStream("wss://x", self._wiring)
        self._handlers |= self._private.handlers
        self._streaming = streaming
        self.held: dict[str, float] = {}

    def received(self, connection: str, frame: bytes | str, now: float) -> Sequence[Event]:
        """``COIN``, or what cannot be read."""
        if frame in (b"?", b"new"):
            return self._missed(Defect.JSON if frame == b"?" else Defect.UNKNOWN_EVENT, now)
        self._health.heard(now)
        coin = bytes(frame).decode() if isinstance(frame, bytes) else frame
        return self._apply(coin, now) if self._synced else self._keep(coin, now)

    def needs(self) -> frozenset[str]:
        """Every coin."""
        return frozenset(self.held)

    def _apply(self, coin: str, now: float) -> Sequence[Event]:
        self._owed.pop(coin, None)
        self.held[coin] = self.held.get(coin, 0.0) + 1.0
        return self._delta(int(now * 1000), "event", (Wallet(coin, self.held[coin], 0),), ())

    def _permissions_request(self) -> Request:
        return Request("", "GET", "https://rest.test", "/permissions")

    def _judge_permissions(self, body: bytes, now: float) -> Sequence[Event]:
        if body == b"?":
            raise BadFrame(Defect.JSON, "not readable")
        return self._weigh(orjson.loads(body), now)

    def _refusal(self, dangerous: Sequence[str]) -> MarginwatchError:
        return ConfigurationError("account main", [Fault("api_key", f"may {dangerous or 'anything'}")])

    def _is_untold(self, error: VenueError) -> bool:
        return error.code == 404

    def _new_round(self, reason: SnapshotReason, link: str | None, now: float) -> Round:
        return Round(reason, link)

    def _request(self, asked: Round, kind: str) -> Request:
        return Request(kind, "GET", "https://rest.test", f"/{kind}")

    def _on_definitions(self, now: float) -> Sequence[Event]:
        return ()

    def _complete(self, done: Round, now: float) -> Sequence[Event]:
        if done.spoiled:
            raise BadFrame(Defect.SHAPE, "does not fit together")
        corrected = [coin for coin, balance in done.state.items() if self.held.get(coin) != balance]
        self.held = dict(done.state)
        self._settle(done, corrected, now)
        later = [event for coin in self._kept() for event in self._apply(coin, now)]
        wallets = tuple(Wallet(coin, balance, 0) for coin, balance in done.state.items())
        seen = AccountSnapshot(
            self.venue, "main", self.feed, int(now * 1000), done.reason, AccountMode.SINGLE_ASSET,
            PositionMode.ONE_WAY, wallets, (), (),
        )  # fmt: skip
        return [seen, *later, *self._judge(now)]


class Stage(BaseStage):
    """Answers that a test may change."""

    def __init__(self, **changes: bool) -> None:
        telemetry = Telemetry()
        super().__init__(Account(telemetry, **changes), telemetry)
        self.replies: dict[str, bytes | VenueError | None] = {
            "permissions": b"[]", "state": b'{"BTC": 1.0}', "note": b"{}",
        }  # fmt: skip

    def answer(self, request: Request, kind: str) -> bytes | VenueError | None:
        """As the test has it."""
        return self.replies[kind]

    def snapshots(self) -> list[AccountSnapshot]:
        """So far."""
        return self.of(AccountSnapshot)

    def state(self, stream: str) -> FeedState:
        """The last of a stream."""
        found: FeedState = [event.state for event in self.of(FeedChanged) if event.stream == stream][-1]
        return found

    def outcome(self, name: str) -> int:
        """How many rounds ended so."""
        return self.telemetry.reconciliations.get("somewhere", "main", name)


def started(**replies: Any) -> Stage:
    """With these answers, a second in."""
    stage = Stage()
    stage.replies |= replies
    stage.start()
    stage.pass_s(1.0)
    return stage
