"""Margin ratio against its ladder: 1.0 is the venue's first liquidation stage."""

from math import isinf, isnan
from typing import ClassVar

from alerts.alert import Reason, Severity, Verdict, Wording
from alerts.rules import _words
from alerts.rules._ladder import LadderConfig
from monitor.model.assessment import PoolAssessment


class MarginRatioConfig(LadderConfig):
    """``[alerts.margin_ratio]``: rungs on the margin ratio, ascending."""

    rising: ClassVar[bool] = True
    default_rungs: ClassVar[dict[str, float]] = {"notice": 0.50, "warning": 0.70, "critical": 0.85, "emergency": 0.95}


def judge(pool: PoolAssessment, config: MarginRatioConfig) -> Verdict:
    """Hold the pool's ratio against the rungs. An unknown ratio holds whatever fires."""
    value = pool.margin_ratio
    if isnan(value):
        return Verdict(None, Severity.EMERGENCY, Reason.UNKNOWN, value, None, unknown=True)
    demands, holds, rung = config.reached(value)
    if pool.unknown or pool.stale:
        # A figure made from incomplete data may accuse, but not acquit.
        return Verdict(demands, Severity.EMERGENCY, Reason.UNKNOWN, value, rung, unknown=True)
    if demands is not None:
        reason = Reason.NO_MARGIN_BALANCE if isinf(value) else Reason.RUNG_REACHED
    else:
        reason = Reason.RUNG_HELD if holds is not None else Reason.BELOW_RUNGS
    return Verdict(demands, holds, reason, value, rung)


def describe(pool: PoolAssessment, verdict: Verdict) -> Wording:
    """The ratio first, then where the nearest leg stands, and why that is not of now, if it is not."""
    leg = _words.nearest_leg(pool)
    where = f" · {_words.whereabouts(leg)}" if leg is not None else ""
    if isinf(pool.margin_ratio):
        where = f" · margin balance {_words.amount(pool.margin_balance)} {pool.unit}{where}"
    if pool.unknown or isnan(pool.margin_ratio):
        where = ""
    text = (
        f"{_words.ratio(pool.margin_ratio)} margin ratio{_words.when(pool)} · {pool.pool}{where}{_words.unseen(pool)}"
    )
    return Wording(text, _words.LOOK_YOURSELF if verdict.unknown else _words.remedy(pool, ends_here=True))
