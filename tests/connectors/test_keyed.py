"""Accounts that need a key: what it may do comes first, and events wait for the first snapshot."""

import pytest

from connectors.account import SNAPSHOT_SPACING_S
from connectors.keyed import EVENTS_WAITING_MAX
from connectors.session import Connect, Halt, Request, Warn
from monitor.errors import VenueError
from monitor.model.account import Wallet
from monitor.model.assessment import FeedState
from monitor.model.events import AccountDelta, AccountSnapshot, FeedChanged, SnapshotReason
from tests.connectors.nowhere import AGAIN, NEVER, Stage, started

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


# --- events that wait


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
