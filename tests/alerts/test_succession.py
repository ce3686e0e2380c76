"""Going on from what was said before, by an earlier run or by another monitor."""

from dataclasses import replace
from math import inf

import pytest

from alerts.alert import Acknowledgement, Alert, Severity, State, Step
from alerts.config import AlertsConfig
from alerts.engine import Engine
from alerts.lifecycle import Status
from alerts.succession import given_up, not_below, owed, standing, unheard
from tests.support.pools import a_pool

FIRING = Status(4, Severity.WARNING, raised_at=10.0, said_at=12.0)


def word() -> Alert:
    """A warning, raised at 10 and said again at 12."""
    (alert,) = Engine(AlertsConfig(), "box").on_pool(a_pool(0.75), 10.0)
    return replace(alert, at=12.0, step=Step.REPEATED)


def test_a_word_says_where_its_alert_stands() -> None:
    """The time to the next escalation runs from when it was raised, or from the word that began it anew."""
    alert = word()
    status = standing(alert, 20.0)
    assert (status.serial, status.severity) == (alert.serial, Severity.WARNING)
    assert (status.raised_at, status.said_at, status.escalate_from) == (10.0, 12.0, 10.0)
    assert [standing(replace(alert, step=step), 20.0).escalate_from for step in (Step.ESCALATED, Step.HEARD_AGAIN)] == [
        12.0,
        12.0,
    ]
    assert standing(replace(alert, state=State.RESOLVED), 20.0).idle


def test_what_was_acknowledged_stays_so() -> None:
    """At the severity at which it was seen."""
    seen = Acknowledgement("ann", 11.0)
    status = standing(replace(word(), acknowledged=seen), 20.0)
    assert (status.acknowledged, status.seen) == (seen, Severity.WARNING)
    assert standing(word(), 20.0).seen is None


def test_a_clock_that_was_set_back_puts_nothing_off() -> None:
    """A word from the future counts from now."""
    status = standing(word(), 5.0)
    assert (status.said_at, status.escalate_from) == (5.0, 5.0)


def test_what_only_this_monitor_counted_counts_no_more() -> None:
    """While something fires that nobody said; otherwise its number was that of the last end."""
    assert given_up(FIRING) == Status(serial=0)
    assert given_up(Status(serial=7)) == Status(serial=7)


def test_no_serial_goes_back() -> None:
    """It only goes on."""
    assert [not_below(FIRING, serial).serial for serial in (3, 4, 9)] == [4, 4, 9]


@pytest.mark.parametrize(
    ("seen", "said", "want"),
    [
        pytest.param(Status(), FIRING, None, id="nothing was seen"),
        pytest.param(replace(FIRING, raised_at=12.0), FIRING, None, id="a word that is as young knew of it"),
        pytest.param(replace(FIRING, raised_at=13.0), FIRING, None, id="no more than what was said"),
        pytest.param(replace(FIRING, raised_at=13.0), Status(), (3, Severity.WARNING), id="nothing was said"),
        pytest.param(
            replace(FIRING, raised_at=13.0, serial=5, severity=Severity.CRITICAL),
            FIRING,
            (4, Severity.CRITICAL),
            id="more than what was said",
        ),
        pytest.param(
            replace(FIRING, raised_at=13.0, serial=2, severity=Severity.CRITICAL),
            FIRING,
            (4, Severity.CRITICAL),
            id="the other one counted further",
        ),
        pytest.param(FIRING, unheard(FIRING), (4, Severity.WARNING), id="nobody knows of the word any more"),
    ],
)
def test_what_was_seen_and_not_said_is_owed(seen: Status, said: Status, want: tuple[int, Severity] | None) -> None:
    """Counted on from what whoever spoke may have said last."""
    found = owed(seen, said)
    assert (None if found is None else (found[0].serial, found[1])) == want


def test_a_word_that_nobody_knows_of_is_older_than_everything() -> None:
    """Its number stays."""
    assert unheard(FIRING) == Status(serial=4, said_at=-inf)
