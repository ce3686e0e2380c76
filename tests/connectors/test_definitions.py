"""When contracts, and questions, are asked for again."""

from random import Random

from connectors.backoff import Backoff
from connectors.definitions import DefinitionTimes

HOUR_S = 3600.0


def times() -> DefinitionTimes:
    """Read again every hour, or after pauses of up to 5, 10, 20 ... 600 s."""
    return DefinitionTimes(HOUR_S, Backoff(5.0, 600.0, Random(7)))


def test_a_contract_that_was_never_asked_for_is_due_at_once() -> None:
    """However many others are fresh."""
    known = times()
    known.asked({"A"}, (), 0.0)
    assert known.fresh(1.0) == {"A"}
    assert known.next({"A"}) == HOUR_S
    assert (known.next({"A", "B"}) or 0.0) < 0.0
    assert known.next(()) is None


def test_what_was_told_is_read_again_on_a_timer() -> None:
    """Tiers and fees change without an event."""
    known = times()
    known.asked({"A"}, (), 100.0)
    assert known.fresh(100.0 + HOUR_S - 1.0) == {"A"}
    assert known.fresh(100.0 + HOUR_S) == set()


def asks_of_the_first_hour(lacking: str, others: str = "") -> list[float]:
    """Moments at which something is asked for, when one contract is never described."""
    known, now, asks = times(), 0.0, []
    held = {lacking, *others}
    while now < HOUR_S:
        asked = held - known.fresh(now)
        known.asked(asked, asked & {lacking}, now)
        asks.append(now)
        now = known.next(held) or HOUR_S
    return asks


def test_one_that_is_never_described_is_asked_for_after_growing_pauses() -> None:
    """The first retry is soon, and an hour has few."""
    asks = asks_of_the_first_hour("X")
    assert asks[1] <= 5.0
    assert len([at for at in asks if at < 60.0]) <= 8
    assert len(asks) <= 25


def test_it_does_not_keep_others_from_being_read() -> None:
    """They keep their hour."""
    known = times()
    known.asked({"A", "X"}, {"X"}, 0.0)
    for now in (700.0, 1400.0, 2100.0, 2800.0, 3500.0):
        known.asked({"X"}, {"X"}, now)
    assert known.next({"A"}) == HOUR_S
    assert known.fresh(HOUR_S) <= {"X"}


def test_its_pauses_are_not_those_of_another() -> None:
    """One that begins to lack begins with the shortest pause; those that end end with it."""
    known = times()
    for now in range(0, 20_000, 1000):
        known.asked({"X"}, {"X"}, float(now))
    known.asked({"A"}, {"A"}, 20_000.0)
    assert (known.next({"A"}) or 0.0) <= 20_005.0
    known.asked({"A"}, (), 20_010.0)
    for now in range(21_000, 40_000, 1000):
        known.asked({"X"}, {"X"}, float(now))
    known.asked({"A"}, {"A"}, 40_000.0)
    assert (known.next({"A"}) or 0.0) <= 40_005.0


def test_what_is_not_told_is_lacking_until_it_is() -> None:
    """And no sooner asked for again than is worth its price."""
    known = DefinitionTimes(HOUR_S, Backoff(5.0, 600.0, Random(7)), soonest_s=4.0)
    known.asked({"tiers", "fees"}, {"tiers"}, 0.0)
    assert known.lacking == {"tiers"}
    assert not known.is_due("tiers", 3.9)
    assert known.is_due("tiers", 5.0)
    assert not known.is_due("fees", 5.0)
    known.asked({"tiers"}, (), 5.0)
    assert known.lacking == frozenset()
    assert not known.is_due("tiers", 605.0)


def test_what_is_wanted_is_due_at_once() -> None:
    """However fresh it is."""
    known = times()
    known.asked({"tiers"}, (), 0.0)
    known.want("tiers")
    assert known.is_due("tiers", 1.0)
    assert known.fresh(1.0) == frozenset()
