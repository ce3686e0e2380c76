"""How much of an account can be seen, by what was delivered and when."""

from collections.abc import Callable

import pytest

from connectors.health import RECONNECT_GRACE_S, SYNC_GRACE_S, AccountHealth
from monitor.errors import VenueError
from monitor.model.assessment import FeedState
from monitor.model.events import FeedChanged

LIVE, LATE, STALE, DOWN = FeedState.LIVE, FeedState.LATE, FeedState.STALE, FeedState.DOWN
RECONCILE_S = 60.0


def synced(health: AccountHealth, now: float, *, proven: bool = False) -> None:
    """A snapshot beside a stream that nothing speaks against."""
    health.synced(now, covers_gap=True, stream_ok=True, proven=proven)


def well() -> AccountHealth:
    """Open since 1, in sync since 2."""
    health = AccountHealth("venue", "main", "feed", RECONCILE_S)
    health.start(0.0)
    health.opened(1.0)
    synced(health, 2.0)
    health.judge(2.0)
    return health


def states(health: AccountHealth, now: float) -> tuple[FeedState, FeedState]:
    """Of the private stream and of the account."""
    health.judge(now)
    user, account = health.report(now)
    return user.state, account.state


def changes(health: AccountHealth, now: float) -> dict[str, FeedChanged]:
    """What a judgement tells, by stream."""
    return {changed.stream: changed for changed in health.judge(now)}


def test_the_start_is_late_and_then_down() -> None:
    """Nothing is known yet, which is not live."""
    health = AccountHealth("venue", "main", "feed", RECONCILE_S)
    assert [changed.state for changed in health.start(0.0)] == [LATE, LATE]
    assert states(health, RECONNECT_GRACE_S + 0.1) == (DOWN, LATE)
    assert states(health, SYNC_GRACE_S + 0.1) == (DOWN, DOWN)


def test_only_what_changed_is_told() -> None:
    """Once."""
    health = AccountHealth("venue", "main", "feed", RECONCILE_S)
    health.start(0.0)
    health.opened(1.0)
    assert list(changes(health, 1.0)) == ["user"]
    assert changes(health, 1.1) == {}


@pytest.mark.parametrize(
    ("happen", "after_s", "expected"),
    [
        pytest.param(lambda h: h.lost(10.0), 1.0, (LATE, LATE), id="a lost stream is late at first"),
        pytest.param(lambda h: h.lost(10.0), 6.0, (DOWN, LATE), id="and then down"),
        pytest.param(lambda h: h.lost(10.0), 16.0, (DOWN, STALE), id="and then the account is stale"),
        pytest.param(lambda h: h.missed(10.0), 1.0, (LIVE, LATE), id="an event that cannot be read makes a gap"),
        pytest.param(lambda h: h.silent("why", 10.0, unsaid=False), 0.0, (STALE, LATE), id="a dead stream is stale"),
        pytest.param(lambda h: None, 1.5 * RECONCILE_S + 16.0, (LIVE, LATE), id="a snapshot that is overdue"),
        pytest.param(lambda h: None, 3.0 * RECONCILE_S + 16.0, (LIVE, STALE), id="a snapshot that is long overdue"),
        pytest.param(lambda h: h.failed(VenueError("x", retry=True)), 1.0, (LIVE, LIVE), id="a question that failed"),
        pytest.param(lambda h: h.failed(VenueError("x", retry=False)), 1.0, (LIVE, STALE), id="one that is denied"),
        pytest.param(lambda h: h.refused("x"), 1.0, (LIVE, DOWN), id="an account that cannot be watched"),
    ],
)
def test_states(happen: Callable[[AccountHealth], None], after_s: float, expected: tuple[FeedState, FeedState]) -> None:
    """What happened ten seconds in, and what it is so much later."""
    health = well()
    happen(health)
    assert states(health, 10.0 + after_s) == expected


def test_a_denial_is_over_with_the_next_snapshot() -> None:
    """Somebody has mended the key."""
    health = well()
    health.failed(VenueError("no", retry=False))
    assert states(health, 10.0)[1] is STALE
    synced(health, 11.0)
    assert states(health, 11.0)[1] is LIVE


def test_a_snapshot_from_before_the_gap_does_not_close_it() -> None:
    """It was asked for when the old stream was still there."""
    health = well()
    health.lost(10.0)
    health.opened(11.0)
    health.synced(12.0, covers_gap=False, stream_ok=True, proven=False)
    assert states(health, 12.0)[1] is LATE
    synced(health, 13.0)
    assert states(health, 13.0) == (LIVE, LIVE)


def test_a_stream_that_said_why_it_ended_is_followed_by_a_trusted_one() -> None:
    """One snapshot closes the gap."""
    health = well()
    health.silent("the venue ended it", 10.0, unsaid=False)
    assert not health.suspects
    synced(health, 11.0)
    assert states(health, 11.0) == (LIVE, LIVE)


def test_after_a_stream_that_fell_silent_unsaid_the_next_must_prove_itself() -> None:
    """Being open and followed by a snapshot is what the silent one was, too."""
    health = well()
    health.silent("no event told", 10.0, unsaid=True)
    health.opened(11.0)
    health.heard(11.5)  # may be the dead stream's last
    synced(health, 12.0)
    assert health.suspects
    assert states(health, 12.0) == (STALE, LIVE)
    health.heard(13.0)
    assert not health.suspects
    assert states(health, 13.0) == (LIVE, LIVE)


def test_a_second_clean_snapshot_is_a_proof_too() -> None:
    """On a quiet account no event may come for days."""
    health = well()
    health.silent("no event told", 10.0, unsaid=True)
    synced(health, 12.0)
    synced(health, 22.0, proven=True)
    assert states(health, 22.0) == (LIVE, LIVE)


def test_a_correction_that_is_unexplained_proves_nothing() -> None:
    """Something speaks against the stream."""
    health = well()
    health.silent("no event told", 10.0, unsaid=True)
    health.synced(12.0, covers_gap=True, stream_ok=False, proven=False)
    assert states(health, 12.0) == (STALE, LIVE)


def test_a_change_tells_up_to_when_nothing_was_missed() -> None:
    """A stream that was lost was good until then; one that fell silent only as far as it proved itself."""
    lost, dead = well(), well()
    lost.lost(30.0)
    assert changes(lost, 30.0)["user"].data_at == 30.0
    assert changes(lost, 50.0)["account"].data_at == 2.0
    dead.heard(20.0)
    dead.silent("no event told", 30.0, unsaid=True)
    assert changes(dead, 30.0)["user"].data_at == 20.0


def test_all_is_well_since_both_are_live() -> None:
    """Waits start from the bottom again after a while of it."""
    health = well()
    assert health.well_since == 2.0
    health.lost(10.0)
    health.judge(10.0)
    assert health.well_since is None


def test_ages_count_from_the_last_proof_and_the_last_snapshot() -> None:
    """Never from being connected."""
    health = well()
    health.heard(5.0)
    assert [feed.age_s for feed in health.report(12.0)] == [7.0, 10.0]


def test_what_cannot_be_seen_is_said_beside_a_state_that_is_good() -> None:
    """And no longer than it lasts."""
    health = well()
    health.unseen("what is held on xyz cannot be read")
    states(health, 3.0)
    assert [feed.detail for feed in health.report(3.0)] == ["", "what is held on xyz cannot be read"]
    health.unseen("")
    states(health, 4.0)
    assert [feed.detail for feed in health.report(4.0)] == ["", ""]


def test_the_age_of_a_lost_stream_is_that_since_which_events_may_be_missing() -> None:
    """As its change tells it, too; one that never told anything has none."""
    health = well()
    health.lost(20.0)
    (change,) = [each for each in health.judge(30.0) if each.stream == "user"]
    user, _ = health.report(30.0)
    assert change.data_at == 20.0
    assert user.age_s == 10.0


def test_a_private_stream_that_waits_for_the_venue_s_answer_says_what_it_was() -> None:
    """It cannot be asked for while the venue answers nothing; once it was tried, its own reason counts."""
    health = AccountHealth("binance", "main", "binance", 60.0)
    health.start(0.0)
    health.failed(VenueError("connection refused", retry=True))
    health.judge(1.0)
    user, account = health.report(1.0)
    assert (user.detail, account.detail) == ("connection refused", "connection refused")
    health.unreachable("it closed with 1006")
    health.judge(2.0)
    assert health.report(2.0)[0].detail == "it closed with 1006"
