"""What brings a pool back under a target ratio, or beyond a target distance: collateral to add, or size to cut.

Both at the present marks.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import inf

from monitor.margin.liquidation import LegCurve, lowest_surplus
from monitor.margin.risk import Leg, Pool, Risk
from monitor.model.assessment import DistanceRemedy, Remedy

_UNDER = 1e-7
"""How far past the target, relatively, a remedy aims: at the target itself an alert still holds."""


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
    return Remedy(target_ratio, add, _cut_to_ratio(pool, risk.margin_balance, aim))


def distance_remedy(pool: Pool, target_distance: float) -> DistanceRemedy | None:
    """Both ways to every liquidation price just farther than `target_distance` from its mark.

    None when the pool is unknown, when they are that far already, or when no amount is enough. The amount is what the
    maintenance margin is above the margin balance where it is most so, of all prices that near: with every other mark
    held, as liquidation prices are, and for the instrument that needs most. The tiers are those that hold there.

    The share to close is the smallest for that price (where no tier begins with a jump), and given only where it is
    enough for all others too. As in `remedy`, it hardly exists where the venue frees margin with a cut.
    """
    aim = target_distance * (1.0 + _UNDER)
    surplus, price, instrument = _clearance(pool, aim)
    if not -inf < surplus < 0.0:
        return None
    add = -surplus * (1.0 + _UNDER)
    return DistanceRemedy(target_distance, add, _cut_to_distance(pool, instrument, price, aim))


def _clearance(pool: Pool, distance: float) -> tuple[float, float, str]:
    """The smallest surplus at any price within `distance` of an instrument's mark, that price, and the instrument.

    nan when the pool is unknown, inf without legs.
    """
    parts = [leg.risk(leg.mark) for leg in pool.legs]
    total = sum(parts, start=pool.base)
    surplus = total.margin_balance - total.maintenance_margin
    if surplus != surplus:
        return surplus, surplus, ""
    by_instrument: dict[str, list[int]] = {}
    for index, leg in enumerate(pool.legs):
        by_instrument.setdefault(leg.instrument, []).append(index)
    found = (inf, 0.0, "")
    for instrument, indices in by_instrument.items():
        legs = [pool.legs[i] for i in indices]
        rest = surplus - sum(parts[i].margin_balance - parts[i].maintenance_margin for i in indices)
        curves = [LegCurve(leg, leg.maintenance.first, leg.maintenance.shift) for leg in legs]
        found = min(found, (*lowest_surplus(curves, rest, *_reach(legs[0], distance)), instrument))
    return found


def _reach(leg: Leg, distance: float) -> tuple[float, float]:
    """The prices, below and above the mark, at which a crossing would be stated as `distance` away."""
    ahead = leg.side.sign * leg.maintenance.ahead
    low, high = leg.mark * (1.0 - distance) - ahead, leg.mark * (1.0 + distance) - ahead
    return max(0.0, min(low, leg.mark)), max(high, leg.mark)


def _cut_to_ratio(pool: Pool, margin_balance: float, target_ratio: float) -> float | None:
    """The smallest share of every leg to close, exact over the tiers; None where closing everything is not enough."""

    def excess(keep: float) -> float:
        """Maintenance above what the target allows, with the share `keep` of every leg still open."""
        balance = margin_balance * keep if pool.cut_releases_margin else margin_balance
        required = sum((_maintenance(leg, leg.mark, keep) for leg in pool.legs), pool.base.maintenance_margin * keep)
        return required - target_ratio * balance

    keep = _most_kept(excess, (edge for leg in pool.legs for edge in _edges(leg, leg.mark)), pool.cut_releases_margin)
    return None if keep is None else 1.0 - keep


def _cut_to_distance(pool: Pool, instrument: str, price: float, distance: float) -> float | None:
    """The share of every leg to close for no surplus to be lacking with `instrument` at `price`, if that is enough."""
    if not price > 0.0:
        return None
    margin_balance = pool.risk().margin_balance
    at = [(leg, price if leg.instrument == instrument else leg.mark) for leg in pool.legs]
    move = sum(leg.unrealized_pnl(there) - leg.unrealized_pnl(leg.mark) for leg, there in at)

    def excess(keep: float) -> float:
        """Maintenance above the margin balance, with the share `keep` of every leg still open."""
        balance = margin_balance * keep if pool.cut_releases_margin else margin_balance
        required = sum((_maintenance(leg, there, keep) for leg, there in at), pool.base.maintenance_margin * keep)
        return required - balance - move * keep

    keep = _most_kept(excess, (edge for leg, there in at for edge in _edges(leg, there)), pool.cut_releases_margin)
    if keep is None or keep < _UNDER:  # what would be left is not a position
        return None
    keep *= 1.0 - _UNDER
    # Another price or instrument, or a tier that begins with a jump, may ask for more than this.
    return 1.0 - keep if _clearance(_kept(pool, keep), distance * (1.0 - _UNDER / 2.0))[0] > 0.0 else None


def _most_kept(excess: Callable[[float], float], edges: Iterable[float], releases: bool) -> float | None:
    """The largest share kept at which `excess` is zero, None where there is none; it is linear between `edges`."""
    shares = sorted({0.0, 1.0, *edges})
    if releases and len(shares) == 2:
        return None  # nothing changes per unit kept
    # Excess grows with what is kept (per unit kept, where margin is released), so the sign changes once on the way up.
    first_above = bisect_left(shares, 1, key=lambda keep: 1 if excess(keep) > 0.0 else 0)
    if first_above in (0, len(shares)) or (releases and first_above == 1):
        return None
    low, high = shares[first_above - 1], shares[first_above]
    at_low, at_high = excess(low), excess(high)
    return low + (high - low) * (-at_low / (at_high - at_low))


def _kept(pool: Pool, keep: float) -> Pool:
    """The pool after all but the share `keep` of every leg was closed at the marks."""
    legs = tuple(
        replace(
            leg,
            size=leg.size * keep,
            quantity=leg.quantity * keep,
            maintenance=replace(leg.maintenance, shift=leg.maintenance.shift * keep),
        )
        for leg in pool.legs
        if keep > 0.0
    )
    balance = pool.risk().margin_balance * (keep if pool.cut_releases_margin else 1.0)
    profit = sum(leg.unrealized_pnl(leg.mark) for leg in legs)
    return replace(pool, base=Risk(balance - profit, pool.base.maintenance_margin * keep), legs=legs)


def _maintenance(leg: Leg, price: float, keep: float) -> float:
    value = leg.notional(price) * keep
    return leg.maintenance_of(value, keep) if value else 0.0


def _edges(leg: Leg, price: float) -> list[float]:
    value = leg.notional(price)
    return [segment.floor / value for segment in leg.maintenance.first if 0.0 < segment.floor < value]
