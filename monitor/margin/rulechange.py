"""One pool under the former and under the present rules: which liquidation prices the change of rules moved. Pure.

Two calculations are compared that differ in the rules alone: same marks, sizes, balances and anchoring offset. It is
not the price shown before that is compared with the price shown now, because anchoring hides the move: between the
moment at which a venue changes a tier and the moment at which the new table is read, its reports already ask for more
(or less), the pool carries that as an offset, and the price shown has moved with no reason given. Connectors load new
definitions together with a snapshot, so by the time of the comparison the offset has been measured against the new
rules. `after` is then the price that is shown from now on, and `before` the price that would be shown had the venue
left its rules alone, which for a pool that agreed with the venue is what was shown before the venue changed them.
"""

from collections.abc import Mapping, Sequence
from math import inf

from monitor.margin.risk import Leg, Pool
from monitor.model.assessment import LegAssessment, PoolAssessment
from monitor.model.instrument import Instrument
from monitor.model.rulechange import MovedPrice, RuleChange, RuleInput, RulesChanged

NOISE = 1e-9
"""Relative difference of two prices that rounding alone can make."""

Definitions = Mapping[str, tuple[Instrument, Instrument]]
"""Symbol to the former and the present definition."""
Haircuts = Mapping[str, tuple[float, float]]
"""Coin to the former and the present haircut."""


def rules_changed(
    former: tuple[Pool, PoolAssessment],
    present: tuple[Pool, PoolAssessment],
    definitions: Definitions,
    haircuts: Haircuts,
    ticks: Mapping[str, float],
) -> RulesChanged | None:
    """What the change of rules moved, None where it moved nothing.

    Both pools have the same legs in the same order. A move of less than the instrument's tick (`ticks` by symbol, as
    far as they are known), or one that rounding can make, is none; from no price at all to some price, or back, is one.
    Nothing can be said where the former price was not known. The present one must be: wait until it is.
    """
    (pool_before, before), (pool_after, after) = former, present
    moved = []
    for was, now in zip(before.legs, after.legs, strict=True):
        if _has_moved(was.liquidation_price, now.liquidation_price, ticks.get(now.instrument, 0.0)):
            moved.append(_moved(was, now))
    if not moved:
        return None
    moved.sort(key=lambda leg: (not leg.worse, inf if leg.distance is None else leg.distance))
    legs = list(zip(pool_before.legs, pool_after.legs, after.legs, strict=True))
    changes = [
        change
        for symbol, (old, new) in definitions.items()
        for change in _changes(old, new, *next(each for each in legs if each[2].instrument == symbol))
    ]
    changes += [RuleChange(coin, RuleInput.HAIRCUT, old, new) for coin, (old, new) in haircuts.items()]
    return RulesChanged(after, tuple(moved), _distinct(changes, moved[0].instrument))


def _has_moved(before: float | None, after: float | None, tick: float) -> bool:
    if before is None or after is None:
        return before is not after and before == before and after == after
    difference = abs(after - before)  # nan, where either is not known, is no move
    return difference > NOISE * max(abs(before), abs(after)) and difference >= tick * (1.0 - NOISE)


def _moved(was: LegAssessment, now: LegAssessment) -> MovedPrice:
    return MovedPrice(
        now.instrument, now.side, was.liquidation_price, now.liquidation_price, was.distance, now.distance
    )


def _changes(old: Instrument, new: Instrument, was: Leg, now: Leg, seen: LegAssessment) -> Sequence[RuleChange]:
    """What differs between two definitions, the rate taken where it matters: at the liquidation price."""
    changes = []
    tables = [(each.tiers, each.isolated_tiers) for each in (old, new)]
    if tables[0] != tables[1] and was.maintenance.first and now.maintenance.first:
        price = seen.mark_price if seen.liquidation_price is None else seen.liquidation_price
        rates = [leg.maintenance.at(leg.notional(price)).alpha for leg in (was, now)]
        if rates[0] != rates[1]:
            changes.append(RuleChange(new.symbol, RuleInput.MAINTENANCE_RATE, rates[0], rates[1]))
        else:
            changes.append(RuleChange(new.symbol, RuleInput.TIERS, None, None))
    for rule, before, after in (
        (RuleInput.TAKER_FEE_RATE, old.taker_fee_rate, new.taker_fee_rate),
        (RuleInput.MULTIPLIER, old.multiplier, new.multiplier),
        (RuleInput.TICK_SIZE, old.tick_size, new.tick_size),
    ):
        if before != after:
            changes.append(RuleChange(new.symbol, rule, before, after))
    return changes


def _distinct(changes: Sequence[RuleChange], first: str) -> tuple[RuleChange, ...]:
    """Those of the instrument that is worst off first."""
    return tuple(sorted(changes, key=lambda change: change.of != first))
