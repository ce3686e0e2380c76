"""How well a monitor could speak, over a lease's time."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.standing import BLIND, DOUBLINGS_MAX, Standings

A, B = ("binance", "a"), ("okx", "b")
LEASE_S = 3.0
Look = tuple[float, bool, int]
"""When, whether the account is unseen, and how many sinks fail."""


def after(*looks: Look) -> Standings:
    """What is known after these looks."""
    subject = Standings(LEASE_S)
    for at, unseen, failing in looks:
        subject.look([A], [A] if unseen else [], failing, at)
    return subject


@pytest.mark.parametrize(
    ("looks", "best", "worst"),
    [
        pytest.param([(0, False, 0), (2, False, 0)], None, None, id="not known for a lease's time yet"),
        pytest.param([(0, False, 0), (3, False, 0)], 0, 0, id="fit"),
        pytest.param([(0, False, 2), (3, False, 2)], 2, 2, id="two sinks fail"),
        pytest.param([(0, True, 0), (3, True, 0)], BLIND, BLIND, id="blind from the start"),
        pytest.param([(0, True, 2), (3, True, 2)], BLIND, BLIND, id="blind outweighs sinks"),
        pytest.param([(0, False, 0), (3, True, 0)], 0, BLIND, id="blind at this moment"),
        pytest.param([(0, False, 0), (1, True, 0), (3.9, True, 0)], 0, BLIND, id="blind for less than a lease"),
        pytest.param([(0, False, 0), (1, True, 0), (4, True, 0)], BLIND, BLIND, id="blind for a lease"),
        pytest.param([(0, True, 0), (1, False, 0), (3.9, False, 0)], 0, BLIND, id="sees again, not for long"),
        pytest.param([(0, True, 0), (1, False, 0), (4, False, 0)], 0, 0, id="sees again for a lease"),
        pytest.param([(0, False, 0), (1, False, 1), (2, False, 0), (3, False, 0)], 0, 1, id="a hiccup of a sink"),
        pytest.param([(0, False, 1), (2, True, 1), (3, False, 1)], 1, BLIND, id="a hiccup of sight"),
    ],
)
def test_the_best_and_the_worst_of_a_lease(looks: Sequence[Look], best: int | None, worst: int | None) -> None:
    """What lasts for a lease's time is both; what does not moves one of the two only."""
    subject, now = after(*looks), looks[-1][0]
    assert (subject.best(A, now), subject.worst(A, now)) == (best, worst)


def test_a_monitor_that_slept_begins_anew() -> None:
    """What it saw before says nothing about now; nor does one know an account that it did not share before."""
    subject = after((0, False, 0), (3, False, 0), (6.5, False, 0), (7, False, 0))
    assert (subject.best(A, 7), subject.worst(A, 7)) == (None, None)
    subject.look([A, B], [], 0, 9.5)
    assert (subject.best(A, 9.5), subject.worst(B, 9.5)) == (0, None)
    subject.look([B], [], 0, 12.5)
    assert (subject.best(A, 12.5), subject.worst(B, 12.5)) == (None, 0)


def failed_soon(times: int, *, unseen: bool = False, spoke_s: float = 3.0) -> float:
    """How long it is held to its sinks, in leases, after it gave way so often, each time so long after it began."""
    subject, now = Standings(LEASE_S), 0.0
    for _ in range(times):
        subject.begins(A, now)
        for _ in range(round(spoke_s)):
            now += 1.0
            subject.look([A], [A] if unseen else [], 1, now)
        now += LEASE_S
        subject.look([A], [A] if unseen else [], 1, now)
        subject.gives_way(A, now)
    worked_at = now + 1.0
    for _ in range(1000):
        now += 1.0
        subject.look([A], [], 0, now)
        if subject.worst(A, now) == 0:
            break
    return (now - worked_at) / LEASE_S


@pytest.mark.parametrize(("times", "leases"), [(0, 1), (1, 2), (2, 4), (3, 8), (DOUBLINGS_MAX + 2, 2**DOUBLINGS_MAX)])
def test_sinks_that_fail_whenever_it_speaks_are_believed_later_each_time(times: int, leases: int) -> None:
    """They seem to work while it does not speak, since nothing is said through them."""
    assert failed_soon(times) == leases


def test_who_spoke_for_long_or_was_blind_is_held_to_nothing() -> None:
    """It has shown that its sinks work; and what it sees it knows without speaking."""
    assert failed_soon(1, spoke_s=40.0) == 1
    assert failed_soon(3, unseen=True) == 1


@given(
    st.lists(st.tuples(st.floats(0.1, 2.9), st.booleans(), st.integers(0, 3)), min_size=1, max_size=40),
)
def test_the_best_is_never_worse_than_the_worst(course: list[tuple[float, bool, int]]) -> None:
    """Neither is known where the other is not; and what is now lies between them."""
    subject, now = Standings(LEASE_S), 0.0
    for pause, unseen, failing in course:
        now += pause
        subject.look([A], [A] if unseen else [], failing, now)
        best, worst = subject.best(A, now), subject.worst(A, now)
        assert (best is None) == (worst is None)
        if best is not None and worst is not None:
            assert best <= (BLIND if unseen else failing) <= worst
