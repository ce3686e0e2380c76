"""The life of one alert: inactive -> pending (hold) -> firing -> resolved. Pure; time is an argument.

- A condition must last `hold_s` before the first alert leaves. Then one alert leaves, at the severity of that moment.
- Worse is said at once, whatever was said a moment ago.
- Better is said when the value has let go of the severity (rung x hysteresis) for `calm_s` without a break: this
  keeps a value that swings around a rung from crying at every swing.
- Who comes back soon after easing flaps: each time the calm that is asked for doubles, up to 16 times.
- What fires is repeated by severity, under the same id, until somebody acknowledges it; a worsening ends that, unless
  it only flaps back to what was acknowledged.
- A critical alert, or an emergency, that nobody acknowledges is escalated, so many times as there is somebody further,
  but not while it is silenced.
- An unknown value neither eases nor resolves anything, and does not end a pending one.
"""

from dataclasses import dataclass, replace
from math import inf

from alerts.alert import Acknowledgement, Severity, Step, Verdict

FLAP_S = 600.0
"""What is raised or worsens again so soon after it eased flaps."""
FLAPS_MAX = 4


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient a rule is, in seconds; `repeat_s` and `escalate_s` belong to the severity that fires.

    `escalations_max` says how many there are to turn to after the first.
    """

    hold_s: float
    calm_s: float
    notice_repeat_s: float
    warning_repeat_s: float
    critical_repeat_s: float
    emergency_repeat_s: float
    critical_escalate_s: float = inf
    emergency_escalate_s: float = inf
    escalations_max: int = 0

    def escalate_s(self, severity: Severity) -> float:
        """Seconds without acknowledgement after which an alert of this severity is passed on; inf for never."""
        return (inf, inf, self.critical_escalate_s, self.emergency_escalate_s)[severity - 1]

    def repeat_s(self, severity: Severity) -> float:
        """Seconds after which a firing alert of this severity is said again."""
        return (self.notice_repeat_s, self.warning_repeat_s, self.critical_repeat_s, self.emergency_repeat_s)[
            severity - 1
        ]


@dataclass(frozen=True, slots=True)
class Status:
    """Where one alert stands.

    `serial` counts every change that was ever said about this key and never goes back, so that an id made from it is
    never used for something else. `severity` is what fires, None when nothing does. `pending_since` is when the
    condition began (only before the first alert), `calm_since` when the value let go (only while something fires).
    `raised_at` is when this severity was reached; `escalation` how often it was passed on since, `escalate_from` from
    when the time to the next runs. `seen` is the severity at which it was acknowledged. `eased_at` is when it last
    eased or was over, `flaps` how often in a row it came back soon after.
    """

    serial: int = 0
    severity: Severity | None = None
    pending: Severity | None = None
    pending_since: float = 0.0
    calm_since: float | None = None
    raised_at: float = 0.0
    said_at: float = 0.0
    acknowledged: Acknowledgement | None = None
    seen: Severity | None = None
    escalation: int = 0
    escalate_from: float = 0.0
    silenced: bool = False
    eased_at: float = -inf
    flaps: int = 0

    @property
    def idle(self) -> bool:
        """Nothing fires and nothing waits to."""
        return self.severity is None and self.pending is None


def advance(status: Status, verdict: Verdict, policy: Policy, now: float) -> tuple[Status, Step | None]:
    """The next status, and what is to be said now, if anything.

    Call it at every new verdict, and with the last verdict again when `deadline` is reached.
    """
    if status.severity is None:
        return _before_firing(status, verdict, policy, now)
    return _while_firing(status, status.severity, verdict, policy, now)


def end(status: Status, now: float) -> tuple[Status, Step | None]:
    """What the alert was about is gone: resolve without waiting for calm. What comes later under its key is another."""
    if status.severity is None:
        return Status(serial=status.serial), None
    return replace(_resolved(status, now), eased_at=-inf, flaps=0), Step.RESOLVED


def again(status: Status, now: float) -> tuple[Status, Step]:
    """What fires has happened once more in another way: a change of its own, at the same severity."""
    if status.severity is None:
        raise ValueError("nothing fires that could happen again")
    return replace(_said(status, status.severity, now), acknowledged=None, seen=None), Step.RAISED


def raise_to(status: Status, severity: Severity, now: float) -> tuple[Status, Step]:
    """Say this severity now, which is more than what fires, if anything does."""
    return _said(status, severity, now), Step.RAISED if status.severity is None else Step.WORSENED


def acknowledge(status: Status, acknowledgement: Acknowledgement, now: float) -> tuple[Status, Step]:
    """Somebody has seen what fires: it is not repeated and not escalated any more until it worsens."""
    return replace(touch(status, now), acknowledged=acknowledgement, seen=status.severity), Step.ACKNOWLEDGED


def touch(status: Status, now: float) -> Status:
    """What fires is said in another way, at the same severity: a change, so that the id is another."""
    if status.severity is None:
        raise ValueError("nothing fires")
    return replace(status, serial=status.serial + 1, said_at=now)


def silence(status: Status, now: float, *, silenced: bool) -> Status:
    """What fires is kept from people from now on, or is to be heard again: then nobody has left it unheeded so far."""
    return replace(touch(status, now), silenced=silenced, escalate_from=now)


def deadline(status: Status, policy: Policy) -> float | None:
    """When `advance` must be called again even if nothing new is known; None for never."""
    if status.severity is None:
        return None if status.pending is None else status.pending_since + policy.hold_s
    calm_at = inf if status.calm_since is None else status.calm_since + _calm_s(status, policy)
    at = min(calm_at, _repeat_at(status, status.severity, policy), _escalate_at(status, status.severity, policy))
    return None if at == inf else at


def _before_firing(status: Status, verdict: Verdict, policy: Policy, now: float) -> tuple[Status, Step | None]:
    demands = verdict.demands
    if demands is None and verdict.unknown:
        demands = status.pending
    if demands is None:
        return _nothing(status), None
    since = now if status.pending is None else status.pending_since
    if now < since + policy.hold_s:
        return replace(status, pending=demands, pending_since=since), None
    return _said(status, demands, now), Step.RAISED


def _while_firing(
    status: Status, current: Severity, verdict: Verdict, policy: Policy, now: float
) -> tuple[Status, Step | None]:
    if verdict.demands is not None and verdict.demands > current:
        return _said(status, verdict.demands, now), Step.WORSENED
    target = _target(current, verdict)
    if target == current:
        status = replace(status, calm_since=None)
    else:
        since = now if status.calm_since is None else status.calm_since
        if now >= since + _calm_s(status, policy):
            if target is None:
                return _resolved(status, now), Step.RESOLVED
            return _eased(status, target, now), Step.EASED
        status = replace(status, calm_since=since)
    if now >= _escalate_at(status, current, policy):
        return replace(touch(status, now), escalation=status.escalation + 1, escalate_from=now), Step.ESCALATED
    if now >= _repeat_at(status, current, policy):
        return replace(status, said_at=now), Step.REPEATED
    return status, None


def _repeat_at(status: Status, severity: Severity, policy: Policy) -> float:
    return inf if status.acknowledged is not None else status.said_at + policy.repeat_s(severity)


def _escalate_at(status: Status, severity: Severity, policy: Policy) -> float:
    if status.acknowledged is not None or status.silenced or status.escalation >= policy.escalations_max:
        return inf
    return status.escalate_from + policy.escalate_s(severity)


def _calm_s(status: Status, policy: Policy) -> float:
    return policy.calm_s * 2.0 ** min(status.flaps, FLAPS_MAX)


def _target(current: Severity, verdict: Verdict) -> Severity | None:
    """The severity at which an alert firing at `current` (which demands no more) should stand."""
    if verdict.unknown:
        return current
    held = None if verdict.holds is None else min(verdict.holds, current)
    wanted = [severity for severity in (verdict.demands, held) if severity is not None]
    return max(wanted, default=None)


def _said(status: Status, severity: Severity, now: float) -> Status:
    """A severity that is said because there is danger: the first time, or more than before."""
    flaps = now < status.eased_at + FLAP_S
    known = flaps and status.seen is not None and severity <= status.seen
    return Status(
        serial=status.serial + 1,
        severity=severity,
        raised_at=now,
        said_at=now,
        acknowledged=status.acknowledged if known else None,
        seen=status.seen if known else None,
        escalate_from=now,
        eased_at=status.eased_at,
        flaps=status.flaps + 1 if flaps else 0,
    )


def _eased(status: Status, severity: Severity, now: float) -> Status:
    return replace(
        status,
        serial=status.serial + 1,
        severity=severity,
        calm_since=None,
        raised_at=now,
        said_at=now,
        escalation=0,
        escalate_from=now,
        eased_at=now,
    )


def _resolved(status: Status, now: float) -> Status:
    return Status(serial=status.serial + 1, raised_at=status.raised_at, said_at=now, eased_at=now, flaps=status.flaps)


def _nothing(status: Status) -> Status:
    return Status(serial=status.serial, eased_at=status.eased_at, flaps=status.flaps)
