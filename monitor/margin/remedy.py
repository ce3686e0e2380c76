"""What brings a pool back under a target ratio: collateral to add, or size to cut, at the present marks."""

from bisect import bisect_left

from monitor.margin.risk import Leg, Pool
from monitor.model.assessment import Remedy

_UNDER = 1e-7
"""How far under the target, relatively, a remedy aims: at the target itself an alert still holds."""


def remedy(pool: Pool, target_ratio: float) -> Remedy | None:
    """Both ways to just under `target_ratio`, or None when the pool is unknown or already below it.

    Cutting leaves the margin balance where it is (profit only moves to the wallet; fees are not counted) unless the
    venue frees margin with it (`Pool.cut_releases_margin`): then only falling into lower tiers helps.
    """
    risk = pool.risk()
    if not risk.maintenance_margin > 0.0 or not risk.margin_ratio >= target_ratio:
        return None
    aim = target_ratio * (1.0 - _UNDER)
    add = risk.maintenance_margin / aim - risk.margin_balance
    return Remedy(target_ratio, add, _cut_fraction(pool, risk.margin_balance, aim))


def _cut_fraction(pool: Pool, margin_balance: float, target_ratio: float) -> float | None:
    """The smallest share of every leg to close, exact over the tiers; None where closing everything is not enough."""

    def excess(keep: float) -> float:
        """Maintenance above what the target allows, with the share `keep` of every leg still open."""
        balance = margin_balance * keep if pool.cut_releases_margin else margin_balance
        required = sum((_maintenance(leg, keep) for leg in pool.legs), start=pool.base.maintenance_margin * keep)
        return required - target_ratio * balance

    edges = sorted({0.0, 1.0, *(edge for leg in pool.legs for edge in _edges(leg))})
    # Excess grows with what is kept (per unit kept, where margin is released), so the sign changes once on the way up.
    first_above = bisect_left(edges, 1, key=lambda keep: 1 if excess(keep) > 0.0 else 0)
    if first_above == 0 or (pool.cut_releases_margin and first_above == 1):
        return None
    low, high = edges[first_above - 1], edges[first_above]
    at_low, at_high = excess(low), excess(high)
    keep = low + (high - low) * (-at_low / (at_high - at_low))
    return 1.0 - keep


def _maintenance(leg: Leg, keep: float) -> float:
    value = leg.notional(leg.mark) * keep
    return leg.maintenance_of(value, keep) if value else 0.0


def _edges(leg: Leg) -> list[float]:
    value = leg.notional(leg.mark)
    return [segment.floor / value for segment in leg.maintenance.first if 0.0 < segment.floor < value]
