"""What every account session does alike, shown on a venue that is nothing but that.

Its account is a mapping from coin to balance, its events name a coin that changed, and its snapshot is one question for
the balances and one for a note that can be done without.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson
import pytest

from connectors.account import (
    EVENT_GRACE_S,
    EVENTS_WAITING_MAX,
    ROUND_S,
    SNAPSHOT_SPACING_S,
    STEADY_S,
    WITHOUT_STREAM_S,
    KeyedAccount,
)
from connectors.links import RETRY_CAP_S
from connectors.private import PrivateStream
from connectors.session import Connect, Halt, Request, Warn
from connectors.wire import BadFrame, Defect
from monitor.errors import ConfigurationError, Fault, MarginwatchError, VenueError
from monitor.model.account import AccountMode, PositionMode, Wallet
from monitor.model.assessment import FeedState
from monitor.model.events import AccountDelta, AccountSnapshot, Event, FeedChanged, SnapshotReason
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


# --- the key


def test_the_start_goes_key_stream_snapshot() -> None:
    """In this order."""
    stage = started()
    kinds = [
        action.id.rpartition("-")[0] if isinstance(action, Request) else type(action).__name__
        for action in stage.actions
    ]
    assert kinds == ["permissions", "Connect", "note", "state"]
    (snapshot,) = stage.snapshots()
    assert (snapshot.reason, snapshot.wallets) == (SnapshotReason.START, (Wallet("BTC", 1.0, 0),))
    assert stage.state("user") is stage.state("account") is FeedState.LIVE


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (b'["trade"]', "may ['trade']"),
        (VenueError("no such place", retry=True, code=404), "may anything"),
        (NEVER, "never"),
    ],
    ids=["one that may do more", "one of which nothing is known", "one that is refused"],
)
def test_a_key_that_will_not_do_ends_the_account(told: bytes | VenueError, words: str) -> None:
    """With what to do about it."""
    stage = started(permissions=told)
    (halt,) = stage.did(Halt)
    assert words in str(halt.error)
    assert stage.did(Connect) == []


@pytest.mark.parametrize(
    ("told", "words"),
    [(b'["trade"]', "can do more than read (trade)"), (VenueError("x", retry=True, code=404), "is not known")],
    ids=["may do more", "unknown"],
)
def test_a_key_that_is_allowed_to_is_taken_with_a_warning(told: bytes | VenueError, words: str) -> None:
    """In so many words."""
    stage = Stage(allow_dangerous_key=True)
    stage.replies["permissions"] = told
    stage.start()
    (warning,) = stage.did(Warn)
    assert words in warning.text
    assert len(stage.did(Connect)) == 1


@pytest.mark.parametrize("told", [AGAIN, b"?"], ids=["an error", "an answer that is unreadable"])
def test_the_key_is_asked_about_until_there_is_an_answer(told: bytes | VenueError) -> None:
    """Nothing else happens before."""
    stage = started(permissions=told)
    stage.pass_s(60.0)
    assert len(stage.asked("permissions")) > 2
    assert stage.did(Connect) == []
    stage.replies["permissions"] = b"[]"
    stage.pass_s(20.0)
    assert stage.snapshots() != []


# --- snapshots


def test_events_that_come_before_the_first_snapshot_wait_for_it() -> None:
    """And are laid over it."""
    stage = started(state=None)
    assert stage.frame(b"BTC") == []
    asked = stage.asked("state")[-1]
    stage.tell(stage.session.responded, asked.id, b'{"BTC": 1.0}', 1)
    assert [type(event) for event in stage.events if not isinstance(event, FeedChanged)] == [
        AccountSnapshot,
        AccountDelta,
    ]
    assert stage.of(AccountDelta)[0].wallets == (Wallet("BTC", 2.0, 0),)


def test_when_too_many_wait_another_snapshot_is_asked_for_which_knows_them_all() -> None:
    """The answer to the first is not."""
    stage = started(state=None)
    early = stage.asked("state")[-1]
    for _ in range(EVENTS_WAITING_MAX + 1):
        stage.session.received(stage.open[-1], b"BTC", stage.clock.now())
    stage.tell(stage.session.responded, early.id, b'{"BTC": 1.0}', 1)
    assert stage.snapshots() == []
    stage.replies["state"] = b'{"BTC": 10001.0}'
    stage.pass_s(SNAPSHOT_SPACING_S + 0.1)
    assert stage.snapshots()[0].wallets == (Wallet("BTC", 10_001.0, 0),)
    assert len(stage.of(AccountDelta)) == 1


def test_snapshots_come_on_the_timer_and_when_asked_for_but_not_without_pause() -> None:
    """`reconcile_s`; a second between two."""
    stage = started()
    stage.pass_s(3 * RECONCILE_S)
    assert len(stage.snapshots()) == 4
    for _ in range(10):
        stage.tell(stage.session.reconcile)
    stage.pass_s(0.5)
    assert len(stage.snapshots()) == 5
    assert stage.snapshots()[-1].reason is SnapshotReason.TIMER


@pytest.mark.parametrize("told", [AGAIN, b"?"], ids=["an error", "an answer that is unreadable"])
def test_what_can_be_done_without_does_not_hold_a_snapshot_up(told: bytes | VenueError) -> None:
    """It is unknown, that is all."""
    assert len(started(note=told).snapshots()) == 1


@pytest.mark.parametrize("told", [AGAIN, b"?", b"spoiled"], ids=["an error", "unreadable", "not fitting together"])
def test_a_snapshot_that_fails_is_taken_again(told: bytes | VenueError) -> None:
    """For the same reason as before, and later each time."""
    stage = started(state=told)
    stage.pass_s(30.0)
    assert stage.snapshots() == []
    assert 3 <= stage.outcome("failed") <= 20
    assert stage.state("account") is FeedState.DOWN
    stage.replies["state"] = b"{}"
    stage.pass_s(20.0)
    assert stage.snapshots()[0].reason is SnapshotReason.START


def test_answers_that_fit_together_only_without_the_last_do_no_harm() -> None:
    """What can be done without fails last, and then the rest turns out to be spoiled."""
    stage = started(state=b"spoiled", note=None)
    asked = stage.asked("note")[-1]
    stage.tell(stage.session.failed, asked.id, AGAIN)
    assert stage.outcome("failed") == 1
    stage.replies |= {"state": b"{}", "note": b"{}"}
    stage.pass_s(5.0)
    assert len(stage.snapshots()) == 1


def test_a_snapshot_that_no_answer_comes_to_is_given_up() -> None:
    """The next asks anew, and only its answers count."""
    stage = started(state=None)
    early = stage.asked("state")[0]
    stage.pass_s(ROUND_S + 2.0)
    assert stage.outcome("failed") == 1
    assert len(stage.asked("state")) == 2
    stage.tell(stage.session.responded, early.id, b"{}", 1)
    stage.tell(stage.session.failed, early.id, NEVER)
    assert stage.snapshots() == []
    assert stage.did(Halt) == []


def test_a_refusal_for_good_ends_the_start_but_not_an_account_that_was_watched() -> None:
    """There a person is told, and it is asked again."""
    assert [str(halt.error) for halt in started(state=NEVER).did(Halt)] == ["never"]
    stage = started()
    stage.replies["state"] = NEVER
    stage.pass_s(RECONCILE_S)
    assert stage.did(Halt) == []
    assert stage.state("account") is FeedState.STALE
    stage.replies["state"] = b'{"BTC": 1.0}'
    stage.pass_s(20.0)
    assert stage.state("account") is FeedState.LIVE


# --- the stream, judged by the snapshots


def test_a_correction_that_an_event_explains_in_time_is_none() -> None:
    """The snapshot was merely quicker."""
    stage = started()
    stage.replies["state"] = b'{"BTC": 2.0}'
    stage.pass_s(RECONCILE_S)
    stage.frame(b"BTC")
    stage.pass_s(EVENT_GRACE_S + 1.0)
    assert stage.outcome("corrected") == 1
    assert stage.state("user") is FeedState.LIVE
    assert len(stage.did(Connect)) == 1


def test_a_correction_that_no_event_explains_shows_a_dead_stream() -> None:
    """It is replaced, and its successor believed once it tells something."""
    stage = started()
    stage.replies["state"] = b'{"BTC": 2.0}'
    stage.pass_s(RECONCILE_S + EVENT_GRACE_S + 1.0)
    stale = next(event for event in stage.of(FeedChanged) if event.state is FeedState.STALE)
    assert (stale.stream, stale.detail) == ("user", "no event told of a change that a snapshot found: BTC")
    assert len(stage.did(Connect)) == 2
    assert stage.state("user") is FeedState.STALE
    stage.frame(b"BTC")
    stage.pass_s(1.0)
    assert stage.state("user") is FeedState.LIVE


def test_while_a_stream_has_yet_to_prove_itself_snapshots_come_sooner() -> None:
    """The second that finds nothing missed is the proof on a quiet account."""
    stage = started()
    stage.replies["state"] = b'{"BTC": 2.0}'
    stage.pass_s(RECONCILE_S + EVENT_GRACE_S + 1.0)
    before = len(stage.snapshots())
    stage.pass_s(WITHOUT_STREAM_S + 1.0)
    assert len(stage.snapshots()) == before + 1
    assert stage.state("user") is FeedState.LIVE


def test_without_a_stream_snapshots_come_sooner() -> None:
    """From the moment on that it is lost, and one more as soon as it is back."""
    stage = started()
    stage.connecting = False
    stage.lose()
    stage.pass_s(3 * WITHOUT_STREAM_S + 1.0)
    assert len(stage.snapshots()) == 4
    assert stage.state("user") is FeedState.DOWN
    stage.connecting = True
    stage.pass_s(RETRY_CAP_S + 1.0)
    assert SnapshotReason.RECONNECT in {snapshot.reason for snapshot in stage.snapshots()}
    assert stage.state("user") is stage.state("account") is FeedState.LIVE


def test_what_was_corrected_across_a_gap_owes_no_event() -> None:
    """Nobody could have heard it."""
    stage = started()
    stage.replies["state"] = b'{"BTC": 5.0}'
    stage.lose()
    stage.pass_s(20.0)
    assert stage.snapshots()[-1].wallets == (Wallet("BTC", 5.0, 0),)
    assert stage.outcome("corrected") == 0
    assert stage.state("user") is FeedState.LIVE


@pytest.mark.parametrize(("frame", "snapshots"), [(b"?", 2), (b"new", 1)], ids=["unreadable", "an unknown event"])
def test_a_frame_that_cannot_be_read_calls_for_a_snapshot(frame: bytes, snapshots: int) -> None:
    """It may have been the one that mattered; venues invent events, though."""
    stage = started()
    stage.frame(frame)
    stage.pass_s(2.0)
    assert len(stage.snapshots()) == snapshots


def test_an_account_without_a_stream_lives_by_its_snapshots() -> None:
    """As often as its interval says, and a correction speaks against nobody."""
    stage = Stage(streaming=False)
    stage.connecting = None
    stage.start()
    stage.pass_s(WITHOUT_STREAM_S + 1.0)
    stage.replies["state"] = b'{"BTC": 2.0}'
    stage.pass_s(2 * RECONCILE_S)
    assert len(stage.snapshots()) == 3
    assert stage.outcome("corrected") == 0


def test_after_a_while_of_health_waits_start_from_the_bottom() -> None:
    """A connection that is lost then is made again within a second, whatever there was before."""
    stage = started()
    for _ in range(8):
        stage.lose()
        stage.pass_s(RETRY_CAP_S)
    stage.pass_s(STEADY_S + 5.0)
    stage.lose()
    stage.pass_s(1.0)
    assert len(stage.open) == 1
