"""Who speaks, by the clock of one monitor."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.lease import Claim, Grant, Leases, Voice

A, B = ("binance", "a"), ("okx", "b")
LEASE_S, ALONE_S = 3.0, 30.0


def leases(me: str = "me", others: int = 1) -> Leases:
    """A monitor that follows, having heard of the other one."""
    subject = Leases(me, LEASE_S, ALONE_S)
    subject.watch([A])
    assert subject.answered({A: Grant("other", 1)}, others, 0.0, 0.0) == {}
    return subject


def test_a_lease_lasts_from_before_the_question() -> None:
    """An answer that took long grants less; one that took longer than the lease grants nothing."""
    subject = leases()
    assert not subject.speaks(A, 0.0)
    assert subject.answered({A: Grant("me", 2)}, 1, asked_at=10.0, now=11.0) == {A: False}
    assert subject.speaks(A, 12.9)
    assert not subject.speaks(A, 13.0)
    assert subject.answered({A: Grant("me", 2)}, 1, asked_at=20.0, now=24.0) == {}
    assert not subject.speaks(A, 24.0)


def test_renewing_is_not_beginning_but_a_gap_is() -> None:
    """After a gap others may have spoken, so what they said must be taken up again."""
    subject = leases()
    assert subject.answered({A: Grant("me", 2)}, 1, 10.0, 10.0) == {A: False}
    assert subject.answered({A: Grant("me", 2)}, 1, 12.0, 12.0) == {}
    assert subject.answered({A: Grant("me", 2)}, 1, 16.0, 16.0) == {A: True}
    subject.answered({A: Grant("other", 3)}, 1, 20.0, 20.0)
    assert subject.answered({A: Grant("me", 4)}, 1, 30.0, 30.0) == {A: False}
    assert (subject.token(A), subject.holder(A)) == (4, "me")


def test_a_monitor_that_slept_is_silent_when_it_wakes() -> None:
    """Nothing needs to tell it: its own clock does."""
    subject = leases()
    subject.answered({A: Grant("me", 2)}, 1, 10.0, 10.0)
    assert not subject.speaks(A, 500.0)
    assert subject.voices(500.0) == {A: Voice.FOLLOWS}


def test_without_redis_the_other_one_gets_its_chance_first() -> None:
    """Cut off from Redis while another monitor lives: silent for a while, then alone; and back in line afterwards."""
    subject = leases()
    assert subject.unreachable(1.0, refused=False) == {}
    assert subject.unreachable(30.9, refused=False) == {}
    assert subject.unreachable(31.0, refused=False) == {A: False}
    assert subject.voices(32.0) == {A: Voice.ALONE}
    assert subject.unreachable(33.0, refused=False) == {}
    assert subject.answered({A: Grant("other", 3)}, 1, 40.0, 40.0) == {}
    assert not subject.speaks(A, 40.0)


@pytest.mark.parametrize("refused", [False, True])
def test_alone_at_once_where_no_other_monitor_is(refused: bool) -> None:
    """None was there the last time that Redis answered."""
    subject = leases(others=0)
    assert subject.unreachable(1.0, refused=refused) == {A: False}


def test_where_no_server_is_the_other_one_s_lease_is_waited_for() -> None:
    """A server that restarts is back in a second, and whoever spoke still does."""
    subject = leases()
    assert subject.unreachable(1.0, refused=False) == {}
    assert subject.unreachable(1.2, refused=True) == {}
    assert subject.unreachable(3.9, refused=True) == {}
    assert subject.unreachable(4.0, refused=True) == {A: False}


@pytest.mark.parametrize("refused", [False, True])
def test_a_monitor_that_nobody_has_answered_yet_waits_for_one_lease(refused: bool) -> None:
    """Redis may be starting beside it, and another monitor may speak."""
    subject = Leases("me", LEASE_S, ALONE_S)
    subject.watch([A])
    assert subject.unreachable(1.0, refused=refused) == {}
    assert subject.unreachable(4.0, refused=refused) == {A: False}


def test_a_redis_that_knows_of_nobody_does_not_mean_that_nobody_is_there() -> None:
    """It was emptied a moment ago, and the other one has not asked again yet."""
    subject = leases()
    subject.answered({A: Grant("", 0)}, 0, 1.0, 1.0)
    assert subject.unreachable(1.5, refused=False) == {}
    for now in (2.0, 3.0, 4.0, 5.0):
        subject.answered({A: Grant("", 0)}, 0, now, now)
    assert subject.unreachable(5.5, refused=False) == {A: False}


def test_a_lease_that_redis_forgot_is_for_the_one_that_speaks() -> None:
    """Under the token that it had, as if nothing had been; the other one waits for as long as that one's may last."""
    speaker, follower = leases(), leases()
    speaker.answered({A: Grant("me", 7)}, 1, 10.0, 10.0)
    follower.answered({A: Grant("other", 7)}, 1, 10.0, 10.0)
    assert (speaker.claim(A, 11.0), follower.claim(A, 11.0)) == (Claim(7), Claim())
    follower.answered({A: Grant("", 0)}, 0, 11.0, 11.0)
    assert (follower.holder(A), follower.speaks(A, 11.0)) == ("other", False)
    assert follower.claim(A, 13.9) == Claim()
    assert follower.claim(A, 14.0) == Claim(8, waited=True)
    assert speaker.answered({A: Grant("me", 7)}, 1, 11.5, 11.5) == {}
    assert follower.answered({A: Grant("other", 7)}, 1, 12.0, 12.0) == {}
    assert follower.claim(A, 15.0) == Claim()


def test_a_new_monitor_takes_what_redis_does_not_know_of_after_one_lease() -> None:
    """Another one may live that Redis has forgotten; who waits alone gets it, who goes on alone at once."""
    subject = Leases("me", LEASE_S, ALONE_S)
    subject.watch([A])
    assert subject.claim(A, 0.0) == Claim()
    assert subject.answered({A: Grant("", 0)}, 0, 0.0, 0.0) == {}
    assert subject.claim(A, 3.0) == Claim(1, waited=True)
    assert subject.answered({A: Grant("me", 1)}, 0, 3.0, 3.0) == {A: False}
    lonely = Leases("me", LEASE_S, ALONE_S)
    lonely.watch([A])
    lonely.unreachable(0.0, refused=True)
    assert lonely.unreachable(3.0, refused=True) == {A: False}
    assert lonely.claim(A, 3.1) == Claim(1)


def test_a_lease_that_is_held_is_used_up_before_anything_else() -> None:
    """The holder that loses Redis goes on speaking as long as nobody else can."""
    subject = leases(others=0)
    subject.answered({A: Grant("me", 2)}, 0, 10.0, 10.0)
    assert subject.unreachable(11.0, refused=True) == {}
    assert subject.speaks(A, 12.9)
    assert subject.unreachable(13.0, refused=True) == {A: True}


def test_accounts_without_a_seat_are_spoken_for() -> None:
    """What is not shared is not held back; a seat given up is forgotten."""
    subject = leases()
    assert subject.speaks(B, 0.0)
    subject.watch([B])
    assert subject.accounts == [B]
    assert subject.speaks(A, 0.0)
    assert (subject.token(A), subject.holder(A)) == (0, "")


def test_who_redis_forgot_while_it_waited_waits_again() -> None:
    """Another one may have taken the lease in between, and Redis have forgotten that, too."""
    subject = leases()
    subject.answered({A: Grant("", 0)}, 0, 1.0, 1.0, is_new=True)
    subject.answered({A: Grant("", 0)}, 0, 3.0, 3.0, is_new=True)
    assert subject.claim(A, 5.9) == Claim()
    assert subject.claim(A, 6.0) == Claim(2, waited=True)


@given(
    st.lists(st.tuples(st.sampled_from(["x", "y"]), st.floats(0, 2), st.floats(0, 4)), max_size=40),
    st.sets(st.integers(0, 39), max_size=6),
)
@settings(max_examples=200)
def test_two_living_monitors_never_speak_at_once(course: list[tuple[str, float, float]], emptied: set[int]) -> None:
    """Whatever the pauses and delays, as long as both reach a server that keeps to its own clock; it may forget all."""
    monitors = {name: Leases(name, LEASE_S, ALONE_S) for name in "xy"}
    for each in monitors.values():
        each.watch([A])
    holder, till, token, now = "", 0.0, 0, 0.0
    known: set[str] = set()
    for step, (name, pause, delay) in enumerate(course):
        now += pause
        if step in emptied:
            holder, token, known = "", 0, set()
        asked_at, claim = now, monitors[name].claim(A, now)
        now += delay / 2  # the question reaches the server
        is_new = name not in known
        known.add(name)
        if not holder and claim.token and not (claim.waited and is_new):
            holder, token = name, claim.token
        elif holder not in {"", name} and till <= now:
            holder, token = name, token + 1
        if holder == name:
            till = now + LEASE_S
        now += delay / 2  # the answer reaches the monitor
        monitors[name].answered({A: Grant(holder, token)}, 1, asked_at, now, is_new=is_new)
        assert sum(each.speaks(A, now) for each in monitors.values()) <= 1
