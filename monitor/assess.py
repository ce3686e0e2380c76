"""A pool and its marks -> everything a person or a rule wants to know about it. Pure."""

from collections.abc import Mapping
from math import nan

from monitor.margin.liquidation import bankruptcy_crossings, liquidation_crossings
from monitor.margin.remedy import distance_remedy, remedy
from monitor.margin.risk import NOTHING, Leg, Pool, Risk, sum_risk
from monitor.margin.rules import VenueRules, account_pools
from monitor.model.account import Account
from monitor.model.assessment import Basis, Disagreement, LegAssessment, PoolAssessment
from monitor.model.ids import pool_id


def assess_account(account: Account, marks: Mapping[str, float], rules: VenueRules) -> list[PoolAssessment]:
    """Assess every pool of an account at `marks`."""
    return [assess_pool(pool, rules) for pool in account_pools(account, marks, rules)]


def assess_pool(
    pool: Pool,
    rules: VenueRules,
    *,
    remedy_ratio: float | None = None,
    remedy_distance: float | None = None,
    marked_at: float | None = None,
    model_error: float | None = None,
    disagreement: Disagreement | None = None,
) -> PoolAssessment:
    """Assess one pool. `remedy_ratio`: where the ratio is above it, say what would bring it back there.

    `remedy_distance`: the same for the distance, where that is not above it or liquidation is passed. `marked_at`,
    `model_error` and `disagreement` are handed through.

    Every liquidation price moves one instrument and holds the others still, with all of the pool's legs on that
    instrument moving together (a hedge-mode pair has one liquidation price).
    """
    parts = [leg.risk(leg.mark) for leg in pool.legs]
    total = sum_risk(pool.base, parts)
    by_instrument: dict[str, list[int]] = {}
    for index, leg in enumerate(pool.legs):
        by_instrument.setdefault(leg.instrument, []).append(index)
    legs: list[LegAssessment | None] = [None] * len(pool.legs)
    for indices in by_instrument.values():
        _assess_instrument(pool, total, parts, indices, legs)
    assessed = tuple(leg for leg in legs if leg is not None)
    distances = [leg.distance for leg in assessed if leg.distance is not None]
    ratio = total.margin_ratio
    distance = min(distances) if distances else None
    cure = None
    if remedy_distance is not None and (ratio >= 1.0 or (distance is not None and distance <= remedy_distance)):
        cure = distance_remedy(pool, remedy_distance)
    return PoolAssessment(
        pool=pool_id(pool.venue, pool.account, pool.scope),
        venue=pool.venue,
        account=pool.account,
        scope=pool.scope,
        basis=pool.basis,
        unit=pool.unit,
        margin_balance=total.margin_balance,
        maintenance_margin=total.maintenance_margin,
        margin_ratio=ratio,
        venue_margin_ratio=rules.venue_margin_ratio(ratio, pool.mode, pool.margin_mode),
        legs=assessed,
        distance=distance,
        marked_at=marked_at,
        model_error=model_error,
        disagreement=disagreement,
        remedy=None if remedy_ratio is None else remedy(pool, remedy_ratio),
        distance_remedy=cure,
        unknown=tuple(_unknown(pool)),
    )


def _assess_instrument(
    pool: Pool, total: Risk, parts: list[Risk], indices: list[int], result: list[LegAssessment | None]
) -> None:
    """Fill in the assessments of the legs that one instrument prices."""
    legs = [pool.legs[i] for i in indices]
    mark, mine = legs[0].mark, sum_risk(NOTHING, [parts[i] for i in indices])
    balance = total.margin_balance - mine.margin_balance
    maintenance = total.maintenance_margin - mine.maintenance_margin
    known = total.margin_balance == total.margin_balance and total.maintenance_margin == total.maintenance_margin
    liquidation = full = bankruptcy = distance = nan if not known else None
    if known:
        ahead = legs[0].side.sign * legs[0].maintenance.ahead  # only positions that stand alone have one
        first = liquidation_crossings(legs, balance - maintenance, mark, nearest_only=True).moved(ahead, mark)
        liquidation, distance = first.nearest(mark), first.distance(mark)
        bankruptcy = bankruptcy_crossings(legs, balance, mark).nearest(mark)
        full = liquidation
        if any(leg.maintenance.full for leg in legs):
            last = maintenance - sum(leg.relief(leg.mark) for leg in pool.legs if leg.instrument != legs[0].instrument)
            full = liquidation_crossings(legs, balance - last, mark, full=True).moved(ahead, mark).nearest(mark)
    for index, leg in zip(indices, legs, strict=True):
        result[index] = LegAssessment(
            instrument=leg.instrument,
            side=leg.side,
            size=leg.size,
            mark_price=mark,
            notional=leg.notional(mark),
            unrealized_pnl=parts[index].margin_balance,
            maintenance_margin=parts[index].maintenance_margin if pool.basis is Basis.COMPUTED else nan,
            liquidation_price=liquidation,
            full_liquidation_price=full,
            bankruptcy_price=bankruptcy,
            distance=distance,
            adl_rank=leg.adl_rank,
            funding_rate=None if leg.funding is None else leg.funding.rate,
            next_funding=None if leg.funding is None else -leg.side.sign * leg.funding.rate * leg.notional(mark),
            next_funding_at=None if leg.funding is None else leg.funding.next_at,
            funding_interval_s=leg.funding_interval_s,
        )


def _unknown(pool: Pool) -> list[str]:
    """What keeps this pool from being known."""
    reasons = list(pool.lacking)
    if pool.base.margin_balance != pool.base.margin_balance and not reasons:
        reasons.append("collateral value")
    for leg in pool.legs:
        reasons += _unknown_of(leg, pool.basis)
    return list(dict.fromkeys(reasons))


def _unknown_of(leg: Leg, basis: Basis) -> list[str]:
    reasons = []
    if leg.mark != leg.mark:
        reasons.append(f"mark price of {leg.instrument}")
    if not leg.maintenance.first:
        computed = basis is Basis.COMPUTED
        reasons.append(f"maintenance tiers of {leg.instrument}" if computed else "the venue's report of the pool")
    if leg.quantity != leg.quantity:
        reasons.append(f"price of the margin coin of {leg.instrument}")
    return reasons
