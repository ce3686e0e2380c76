"""Distance to liquidation against its ladder: the relative move of the mark that is left."""

from math import isnan
from typing import ClassVar

from alerts.alert import Reason, Severity, Verdict, Wording
from alerts.rules import _words
from alerts.rules._ladder import LadderConfig
from monitor.model.assessment import DistanceRemedy, PoolAssessment, Remedy


class DistanceConfig(LadderConfig):
    """``[alerts.distance]``: rungs on the smallest distance of a pool's legs, descending."""

    rising: ClassVar[bool] = False
    default_rungs: ClassVar[dict[str, float]] = {"notice": 0.10, "warning": 0.05, "critical": 0.025, "emergency": 0.01}


def judge(pool: PoolAssessment, config: DistanceConfig) -> Verdict:
    """Hold the smallest distance against the rungs. No liquidation price at all is safe; an unknown one is not.

    A pool whose margin ratio is past liquidation has no way left, even where no price of one instrument would end that.
    """
    value = pool.distance
    if pool.margin_ratio >= 1.0:
        value = 0.0 if value is None or not value < 0.0 else value
    if (value is not None and isnan(value)) or (value is None and pool.unknown):
        return Verdict(None, Severity.EMERGENCY, Reason.UNKNOWN, value, None, unknown=True)
    if value is None:
        return Verdict(None, None, Reason.BELOW_RUNGS, None, None)
    demands, holds, rung = config.reached(value)
    if pool.unknown or pool.stale:
        return Verdict(demands, Severity.EMERGENCY, Reason.UNKNOWN, value, rung, unknown=True)
    if demands is not None:
        reason = Reason.LIQUIDATION_PASSED if value <= 0 else Reason.RUNG_REACHED
    else:
        reason = Reason.RUNG_HELD if holds is not None else Reason.BELOW_RUNGS
    return Verdict(demands, holds, reason, value, rung)


def describe(pool: PoolAssessment, verdict: Verdict) -> Wording:
    """The way left first, then mark and liquidation price, and why that is not of now, if it is not."""
    leg = _words.nearest_leg(pool)
    where = f" · {_words.whereabouts(leg)}" if leg is not None else " · past liquidation at the present marks"
    ratio = f" · margin ratio {_words.ratio(pool.margin_ratio)}"
    if verdict.value is None or isnan(verdict.value):
        if verdict.unknown:
            text = f"unknown distance to liquidation · {pool.pool} · {_words.listing(pool.unknown)}"
            return Wording(text, _words.LOOK_YOURSELF)
        return Wording(f"no liquidation price · {pool.pool}{ratio}")
    left = f"{_words.percent(verdict.value)} to liquidation{_words.when(pool)}"
    text = f"{left} · {pool.pool}{where}{ratio}{_words.unseen(pool)}"
    return Wording(text, _words.LOOK_YOURSELF if verdict.unknown else _advice(pool))


def _advice(pool: PoolAssessment) -> str:
    """What ends this alert: what mends the margin ratio where that is enough here too, else what mends the distance."""
    near, far = pool.distance_remedy, pool.remedy
    if near is None or (far is not None and _covers(far, near)):
        return _words.remedy(pool)
    return _words.distance_remedy(pool)


def _covers(cure: Remedy, needed: DistanceRemedy) -> bool:
    if not cure.add_collateral >= needed.add_collateral:
        return False
    cut = cure.cut_fraction
    return cut is None or (needed.cut_fraction is not None and cut >= needed.cut_fraction)
