"""When a monitor counts as doing its job."""

import pytest

from monitor.vitality import Vitality, is_heard

A, B = ("binance", "a"), ("okx", "b")


@pytest.mark.parametrize(
    ("watched", "blind", "decides", "sees_all"),
    [
        ([], [], True, True),
        ([A], [], True, True),
        ([A], [A], False, False),
        ([A, B], [A], True, False),
        ([A, B], [A, B], False, False),
        ([A], [B], True, True),
    ],
)
def test_what_is_seen(
    watched: list[tuple[str, str]], blind: list[tuple[str, str]], decides: bool, sees_all: bool
) -> None:
    """Some is enough to go on, all is needed to be well; what nobody holds positions in may be unseen."""
    vitality = Vitality.beginning(0.0)
    vitality.look(0.0, [], [], is_whole=True)
    vitality.look(100.0, watched, blind, is_whole=False)
    assert vitality.decides(101.0, 60.0) is decides
    assert vitality.sees_all(101.0, 60.0) is sees_all


def test_a_run_that_has_seen_nothing_yet_is_not_well() -> None:
    """Not from its first moment on, nor while nothing is known to be unseen; but the watchdog leaves it time."""
    vitality = Vitality.beginning(0.0)
    assert not vitality.sees_all(0.0, 60.0)
    vitality.look(1.0, [A], [], is_whole=False)  # not in sync yet, and too early to call it blind
    assert not vitality.sees_all(1.0, 60.0)
    vitality.look(2.0, [], [], is_whole=False)  # no account there yet
    assert not vitality.sees_all(2.0, 60.0)
    assert vitality.decides(60.0, 60.0)
    vitality.look(3.0, [A], [], is_whole=True)
    assert vitality.sees_all(3.0, 60.0)


def test_only_the_beginning_asks_for_everything() -> None:
    """Once it was well, an account that begins anew, or holds nothing, is borne as before."""
    vitality = Vitality.beginning(0.0)
    vitality.look(1.0, [A], [], is_whole=True)
    vitality.look(100.0, [A], [], is_whole=False)
    assert vitality.sees_all(100.0, 60.0)


def test_a_short_blindness_is_borne() -> None:
    """Patience counts from the last moment at which it was well."""
    vitality = Vitality.beginning(0.0)
    vitality.look(10.0, [A], [], is_whole=True)
    vitality.look(69.0, [A], [A], is_whole=False)
    assert vitality.sees_all(70.0, 60.0)
    assert not vitality.sees_all(70.1, 60.0)
    vitality.look(71.0, [A], [], is_whole=True)
    assert vitality.sees_all(72.0, 60.0)


@pytest.mark.parametrize(
    ("failing", "heard"),
    [
        ({"console": False, "state": False}, True),
        ({"console": True, "state": False}, True),
        ({"console": False, "redis": True, "state": False}, False),
        ({"console": False, "redis": True, "push": False}, True),
        ({"redis": True, "mqtt": True, "state": False}, False),
        ({}, True),
    ],
)
def test_whether_a_warning_would_get_out(failing: dict[str, bool], heard: bool) -> None:
    """One way to the outside is enough; a terminal that nobody reads is none where there are others."""
    assert is_heard(failing) is heard
