"""Pools whose figures cannot be known: never treated as safe."""

from math import isnan

from alerts.alert import Reason, Severity, Verdict, Wording
from alerts.rules import _words
from alerts.rules._ladder import RuleConfig, Seconds
from monitor.model.assessment import PoolAssessment

_KNOWN = Verdict(None, None, Reason.KNOWN)


class UnknownConfig(RuleConfig):
    """``[alerts.unknown]``: how long a pool may stay unknown before it is an alert."""

    hold_s: Seconds = 5.0
    calm_s: Seconds = 5.0


def judge(pool: PoolAssessment, config: UnknownConfig) -> Verdict:
    """A pool with open legs and unknown figures asks for `critical`, one without for `notice`."""
    if not pool.unknown and not isnan(pool.margin_ratio):
        return _KNOWN
    severity = Severity.CRITICAL if pool.legs else Severity.NOTICE
    return Verdict(severity, severity, Reason.UNKNOWN, unknown=True)


def describe(pool: PoolAssessment, verdict: Verdict) -> Wording:
    """What is not known, and how many positions stand on it."""
    if verdict.demands is None:
        return Wording(f"{_words.ratio(pool.margin_ratio)} margin ratio, known again · {pool.pool}")
    legs = "1 position" if len(pool.legs) == 1 else f"{len(pool.legs)} positions"
    lacks = _words.listing(pool.unknown) or "no figures"
    return Wording(
        f"unknown margin ratio · {pool.pool} · {lacks} · {legs}",
        "Watch this pool at the venue until it is known again.",
    )
