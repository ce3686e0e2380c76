"""What rules, lifecycle and sinks say to each other: severities, verdicts, alerts."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from hashlib import blake2b

from monitor.model.ids import Side

STATE_FILE = "state"
"""Name under which the state file takes part as a sink does, and reports its own failures."""
HEARTBEAT = "heartbeat"
"""Name under which the dead-man's switch reports that it does not hear the monitor."""


class Severity(IntEnum):
    """How bad, in ascending order."""

    NOTICE = 1
    WARNING = 2
    CRITICAL = 3
    EMERGENCY = 4

    @property
    def label(self) -> str:
        """The word on the outside, for example ``critical``."""
        return _LABELS[self]


_LABELS = {severity: severity.name.lower() for severity in Severity}


class State(StrEnum):
    """Whether an alert holds or is over."""

    FIRING = "firing"
    RESOLVED = "resolved"


class Step(StrEnum):
    """Why an alert leaves now: what the lifecycle decided."""

    RAISED = "raised"
    WORSENED = "worsened"
    EASED = "eased"
    REPEATED = "repeated"
    RESOLVED = "resolved"
    ACKNOWLEDGED = "acknowledged"
    ESCALATED = "escalated"
    SILENCED = "silenced"
    HEARD_AGAIN = "heard_again"
    """Its silence is over and it still fires."""

    @property
    def is_news(self) -> bool:
        """Whether a person must hear of it now: a repeat says nothing new, and handling it is people's own doing."""
        return self not in (Step.REPEATED, Step.ACKNOWLEDGED, Step.SILENCED)


class Reason(StrEnum):
    """Why a rule decided as it did; the `reason` of a message, the log field and the expectation in tests."""

    BELOW_RUNGS = "below_rungs"
    RUNG_REACHED = "rung_reached"
    RUNG_HELD = "rung_held"
    NO_MARGIN_BALANCE = "no_margin_balance"
    LIQUIDATION_PASSED = "liquidation_passed"
    UNKNOWN = "unknown"
    KNOWN = "known"
    MARKS_STALE = "marks_stale"
    USER_STREAM_STALE = "user_stream_stale"
    ACCOUNT_OUT_OF_SYNC = "account_out_of_sync"
    MODEL_AGREES = "model_agrees"
    MODEL_DISAGREES = "model_disagrees"
    SINK_FAILING = "sink_failing"
    ALERT_REFUSED = "alert_refused"
    STATE_NOT_SAVED = "state_not_saved"
    MARGIN_CALL = "margin_call"
    LIQUIDATION = "liquidation"
    ADL = "adl"
    VENUE_NOTICE = "venue_notice"
    RULES_CHANGED = "rules_changed"
    RECOVERED = "recovered"
    POOL_CLOSED = "pool_closed"
    NOT_CONFIGURED = "not_configured"
    ACKNOWLEDGED = "acknowledged"
    UNACKNOWLEDGED = "unacknowledged"
    SILENCED = "silenced"
    SILENCE_OVER = "silence_over"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule thinks of the present.

    `demands` is the severity that the present value asks for, None for nothing. `holds` is the highest severity at
    which an alert that already fires stays (hysteresis); never below `demands`. `unknown` means the value cannot be
    seen: then nothing that fires may ease or resolve, because an unknown is never safe.
    """

    demands: Severity | None
    holds: Severity | None
    reason: Reason
    value: float | None = None
    threshold: float | None = None
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Wording:
    """What people read: `text` is one line for a phone, the number first; `advice` says what would help."""

    text: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class AlertLeg:
    """One position of the pool behind an alert. Prices None mean "there is none"; nan means unknown."""

    instrument: str
    side: Side
    size: float
    mark_price: float
    liquidation_price: float | None
    distance: float | None


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A person has seen the alert and deals with it. It stands until the alert worsens, is raised anew or ends."""

    by: str
    at: float


@dataclass(frozen=True, slots=True)
class Silence:
    """Nobody is to be disturbed about `subject` until `until` (seconds since the epoch).

    `subject` is a pool's id, ``venue/account`` for all of an account, an alert's key, or a pattern of these with ``*``.
    `emergency` says that even emergencies are silent.
    """

    id: str
    subject: str
    until: float
    by: str
    reason: str
    emergency: bool
    at: float


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to say: the fields of Message v1 (README, "The message"), and below them what delivery needs to know.

    `id` names one change of one alert: a repeat carries the id of what it repeats; worsening, easing and resolving
    have ids of their own, so that a receiver that folds equal ids never swallows a change. `key` names the alert from
    its first raise to its end and over all later episodes. Figures None do not apply; nan means unknown; a margin ratio
    may be +inf. `raised_at` is when this id first left (for `resolved`: when the alert that ends was raised),
    `mark_at` the venue's time of the oldest mark behind the figures; both in seconds since the epoch. `stale` says that
    these are the last figures seen, because the marks or the account are not fresh.

    `acknowledged` and `silenced` say how people handle it: a silenced alert is kept from people, not from records.
    `escalation` counts how often it was passed on because nobody acknowledged it.

    `serial` counts the changes of this key and with the key and severity makes the id; `at` is when this very alert
    was emitted.
    """

    id: str
    key: str
    rule: str
    severity: Severity
    state: State
    reason: Reason
    venue: str | None
    account: str | None
    pool: str | None
    value: float | None
    threshold: float | None
    margin_ratio: float | None
    margin_balance: float | None
    maintenance_margin: float | None
    unit: str | None
    legs: tuple[AlertLeg, ...]
    text: str
    advice: str
    raised_at: float
    mark_at: float | None
    host: str
    step: Step
    serial: int
    at: float
    acknowledged: Acknowledgement | None = None
    silenced: Silence | None = None
    escalation: int = 0
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Restored:
    """What survived from earlier runs: the last alert said about every key, the salt of all ids, the silences."""

    salt: str
    alerts: tuple[Alert, ...]
    silences: tuple[Silence, ...] = ()


def alert_id(salt: str, key: str, serial: int, severity: Severity, state: State) -> str:
    """The short stable id of one change: the same inputs give the same id, in whichever run.

    A run that was killed after sending and before saving comes to the same `serial` again and so repeats the id. The
    `salt` belongs to the state file: a monitor that starts with a new one does not reuse the old one's ids.
    """
    identity = "\n".join((salt, key, str(serial), severity.label, state))
    return blake2b(identity.encode(), digest_size=8).hexdigest()
