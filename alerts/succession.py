"""Going on from what was said before: by an earlier run, or by another monitor on the same accounts. Pure."""

from dataclasses import replace
from math import inf

from alerts.alert import Alert, Severity, State, Step
from alerts.lifecycle import Status

_ESCALATES_FROM = (Step.ESCALATED, Step.HEARD_AGAIN)
"""Words that begin the time to the next escalation anew."""


def standing(word: Alert, now: float) -> Status:
    """Where the alert stands whose last word this is."""
    # A wall clock that was set back between the runs must not put off the repeats.
    said_at = min(word.at, now)
    return Status(
        word.serial,
        word.severity if word.state is State.FIRING else None,
        raised_at=word.raised_at,
        said_at=said_at,
        acknowledged=word.acknowledged,
        seen=None if word.acknowledged is None else word.severity,
        escalation=word.escalation,
        escalate_from=said_at if word.step in _ESCALATES_FROM else min(word.raised_at, now),
    )


def given_up(seen: Status) -> Status:
    """What this monitor saw gives way to what the other one said; a serial that only it counted counts no more."""
    return Status(serial=seen.serial if seen.severity is None else 0)


def not_below(status: Status, serial: int) -> Status:
    """No serial goes back, or a sink would take what is new for something it has heard."""
    return replace(status, serial=serial) if status.serial < serial else status


def unheard(status: Status) -> Status:
    """Nobody knows of its word any more: what still is the case is said once more."""
    return Status(serial=status.serial, said_at=-inf)


def owed(seen: Status, said: Status) -> tuple[Status, Severity] | None:
    """What this monitor saw and nobody said: from where to raise it, and to which severity. None when all was said."""
    severity = seen.severity
    # A word that is younger than what we saw knew of it.
    if severity is None or seen.raised_at <= said.said_at:
        return None
    if said.severity is not None and severity <= said.severity:
        return None
    # Counted as whoever spoke counted: what it said, and we did not hear of, has this very id.
    return replace(said, serial=max(said.serial, seen.serial - 1)), severity
