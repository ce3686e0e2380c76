"""Who speaks, by the clock of one monitor."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.lease import Grant, Leases, Voice

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


@pytest.mark.parametrize(("others", "refused"), [(0, False), (0, True), (1, True)])
def test_alone_at_once_where_nobody_else_can_speak(others: int, refused: bool) -> None:
    """No other monitor was there, or no server is."""
    subject = leases(others=others)
    assert subject.unreachable(1.0, refused=refused) == {A: False}


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


@given(st.lists(st.tuples(st.sampled_from(["x", "y"]), st.floats(0, 2), st.floats(0, 4)), max_size=40))
@settings(max_examples=200)
def test_two_living_monitors_never_speak_at_once(course: list[tuple[str, float, float]]) -> None:
    """Whatever the pauses and delays, as long as both reach a server that keeps to its own clock."""
    monitors = {name: Leases(name, LEASE_S, ALONE_S) for name in "xy"}
    for each in monitors.values():
        each.watch([A])
    holder, till, token, now = "", 0.0, 0, 0.0
    for name, pause, delay in course:
        now += pause
        asked_at = now
        now += delay / 2  # the question reaches the server
        if holder != name and till <= now:
            holder, token = name, token + 1
        if holder == name:
            till = now + LEASE_S
        now += delay / 2  # the answer reaches the monitor
        monitors[name].answered({A: Grant(holder, token)}, 1, asked_at, now)
        assert sum(each.speaks(A, now) for each in monitors.values()) <= 1
