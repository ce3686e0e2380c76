"""A sink, or the state file, that cannot take what it is given."""

from dataclasses import dataclass, replace

from alerts.alert import HEARTBEAT, STATE_FILE, Reason, Severity, Verdict, Wording
from alerts.rules import _words
from alerts.rules._ladder import RuleConfig, Seconds


@dataclass(frozen=True, slots=True)
class SinkFailure:
    """How a sink does. `failing_since` is None while it works; `pending` counts alerts that it does not have yet.

    `refused` names an alert that it would not take while it took others, and why; of the state file, where the damaged
    one is that it was begun instead of. Empty without one. `failed_s` is how
    long it had failed before it worked again, None while it fails, or where nobody saw it fail.
    """

    sink: str
    failing_since: float | None
    pending: int
    detail: str
    now: float
    refused: str = ""
    failed_s: float | None = None

    def after(self, before: "SinkFailure | None") -> "SinkFailure":
        """With how long it had failed until now; `before` is what was known of it last."""
        if self.failing_since is not None or before is None:
            return self
        since = before.failing_since
        return replace(self, failed_s=before.failed_s if since is None else max(0.0, before.now - since))


class SinkFailureConfig(RuleConfig):
    """``[alerts.sink_failure]``: how long a sink may fail before the other sinks say so."""

    after_s: Seconds = 15.0
    calm_s: Seconds = 5.0


def judge(failure: SinkFailure, config: SinkFailureConfig) -> Verdict:
    """A sink that fails for `after_s` asks for `warning`, as does at once one that refused an alert for good.

    A state file that is not written asks for `critical`; one that was begun anew for `warning`.
    """
    is_state = failure.sink == STATE_FILE
    if failure.refused and not (is_state and failure.failing_since is not None):
        reason = Reason.STATE_BEGUN_ANEW if is_state else Reason.ALERT_REFUSED
        return Verdict(Severity.WARNING, Severity.WARNING, reason, 1.0, 1.0)
    if failure.failing_since is None:
        return Verdict(None, None, Reason.RECOVERED)
    failing_s = max(0.0, failure.now - failure.failing_since)
    reason = Reason.STATE_NOT_SAVED if is_state else Reason.SINK_FAILING
    severity = Severity.CRITICAL if is_state else Severity.WARNING
    demands = severity if failing_s >= config.after_s else None
    return Verdict(demands, severity, reason, failing_s, config.after_s)


def describe(failure: SinkFailure, verdict: Verdict) -> Wording:
    """How long first, then what waits and why."""
    subject, advice = _ABOUT.get(failure.sink, (f"sink {failure.sink}", _NOBODY_HEARS))
    if verdict.reason is Reason.STATE_BEGUN_ANEW:
        return Wording(f"1 state file damaged · begun anew · {failure.refused}", _FORGOTTEN)
    if verdict.reason is Reason.ALERT_REFUSED:
        text = f"1 alert refused for good · {subject} · {failure.refused}"
        return Wording(text, "Others still leave through this sink; this one is in the history of the monitor.")
    if verdict.value is None:
        lasted = "" if failure.failed_s is None else f"{_words.seconds(failure.failed_s)} failing · "
        return Wording(f"{lasted}{subject} works again")
    waits = "1 alert waits" if failure.pending == 1 else f"{failure.pending} alerts wait"
    parts = [f"{_words.seconds(verdict.value)} failing", subject, waits, failure.detail]
    if failure.sink == HEARTBEAT:
        parts.remove(waits)
    return Wording(" · ".join(part for part in parts if part), advice)


_FORGOTTEN = (
    "What fires is said a second time, under another id. Acknowledgements, silences and what a sink had not heard yet "
    "may be lost: silence again what you had silenced, and look after the disk."
)
_NOBODY_HEARS = "Nobody hears alerts through this sink until it works again."
_ABOUT = {
    STATE_FILE: (
        "state file",
        "Alerts still leave, but a restart would forget what was not saved: free the disk, or mend it.",
    ),
    HEARTBEAT: (
        "dead-man's switch",
        "It does not hear this monitor: it may call somebody although all is well, and would not know the difference.",
    ),
}
"""What is no sink but fails as one: its name, and the advice."""
