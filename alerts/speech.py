"""The next word about a key: who says it, under which id, and what it is about. Pure; time is given."""

from collections.abc import Mapping
from typing import Any

from alerts.alert import Alert, Reason, Severity, State, Step, alert_id
from alerts.lifecycle import Status
from alerts.silences import Silences
from alerts.substance import substance_again, substance_of
from alerts.track import Track, names_of, verdict_for


class Speech:
    """How this monitor speaks: `host` is its machine, `salt` goes into its ids.

    `shared_salt`, with two monitors on the same accounts, is that of what both of them may say.
    """

    def __init__(self, host: str, salt: str) -> None:
        self._host = host
        self.salt = salt
        self.shared_salt: str | None = None

    def word(self, track: Track, before: Status, step: Step, reason: Reason, silences: Silences, now: float) -> Alert:
        """What is said when a track has come from `before` to where it is; a word about nothing is a fault of ours."""
        status = track.status
        severity = status.severity or before.severity or Severity.NOTICE
        state = State.FIRING if status.severity is not None else State.RESOLVED
        verdict = verdict_for(track, state)
        if verdict is not track.verdict and reason is track.verdict.reason:
            reason = verdict.reason
        if track.subject is not None:
            substance = substance_of(track.rule, track.subject, verdict, state)
        elif track.last is not None:
            substance = substance_again(track.last, state, reason)
        else:
            raise AssertionError("an alert without a subject was never said before")
        return Alert(
            id=alert_id(self._salt_of(substance), track.key, status.serial, severity, state),
            key=track.key,
            rule=track.rule.name,
            severity=severity,
            state=state,
            reason=reason,
            raised_at=status.raised_at,
            host=self._host,
            step=step,
            serial=status.serial,
            at=now,
            acknowledged=status.acknowledged,
            silenced=silences.covering(names_of(track.key, substance), severity, now),
            escalation=status.escalation,
            **substance,
        )

    def _salt_of(self, substance: Mapping[str, Any]) -> str:
        """Ids of what two monitors may both say are the same; a sink's failure is each one's own."""
        return self.salt if self.shared_salt is None or substance["account"] is None else self.shared_salt
