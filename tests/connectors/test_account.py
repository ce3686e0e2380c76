"""What every account session does alike: snapshots, and the stream judged by them."""

import pytest

from connectors.account import EVENT_GRACE_S, ROUND_S, STEADY_S, WITHOUT_STREAM_S
from connectors.links import RETRY_CAP_S
from connectors.session import Connect, Halt
from monitor.errors import VenueError
from monitor.model.account import Wallet
from monitor.model.assessment import FeedState
from monitor.model.events import FeedChanged, SnapshotReason
from tests.connectors.nowhere import AGAIN, NEVER, RECONCILE_S, Stage, started

# --- snapshots


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
