"""One key of the engine: where its alert stands, what it is about, and what was last said. Pure."""

from collections.abc import Mapping
from typing import Any

from alerts.alert import Alert, Reason, Severity, State, Verdict
from alerts.config import AlertsConfig
from alerts.lifecycle import Policy, Status
from alerts.rules import Rule

NOT_SEEN_YET = Verdict(None, Severity.EMERGENCY, Reason.UNKNOWN, unknown=True)
RECOVERED = Verdict(None, None, Reason.RECOVERED)
OUT_OF_SIGHT = Verdict(None, Severity.EMERGENCY, Reason.ACCOUNT_OUT_OF_SYNC, unknown=True)


class Track:
    """One key: where its alert stands, what it is about and what was last said."""

    __slots__ = ("accused", "key", "last", "policy", "rule", "status", "subject", "verdict")

    def __init__(self, key: str, rule: Rule[Any], policy: Policy) -> None:
        self.key = key
        self.rule = rule
        self.policy = policy
        self.status = Status()
        self.verdict = NOT_SEEN_YET
        self.accused: Verdict | None = None
        """The last verdict that demanded something: the words of an alert that fires while its calm runs."""
        self.subject: Any = None
        self.last: Alert | None = None


def policy_of(config: AlertsConfig, name: str) -> Policy:
    """How patient the rule called `name` is, as long as there is nobody to turn to."""
    section, repeat = config.rule(name), config.repeat
    return Policy(
        hold_s=section.hold_s,
        calm_s=section.calm_s,
        notice_repeat_s=repeat.notice_s,
        warning_repeat_s=repeat.warning_s,
        critical_repeat_s=repeat.critical_s,
        emergency_repeat_s=repeat.emergency_s,
        critical_escalate_s=config.escalation.critical_s,
        emergency_escalate_s=config.escalation.emergency_s,
    )


def names_of(key: str, substance: Mapping[str, Any]) -> tuple[str, ...]:
    """By what a person may have named an alert in a silence: its key, and the pool or else the account."""
    if substance["pool"] is not None:
        return key, substance["pool"]
    return (key,) if substance["account"] is None else (key, f"{substance['venue']}/{substance['account']}")


def account_of(track: Track) -> tuple[str | None, str | None]:
    """Whose alert it is: (venue, name), without them for one that belongs to no account."""
    about = track.subject if track.subject is not None else track.last
    return (None, None) if about is None else (about.venue, about.account)


def verdict_for(track: Track, state: State) -> Verdict:
    """The verdict that an alert speaks of. While its calm runs it still fires, and must not say that all is well."""
    verdict = track.verdict
    calming = verdict is RECOVERED or verdict is OUT_OF_SIGHT
    return track.accused if state is State.FIRING and calming and track.accused is not None else verdict
