"""What a venue's report is worth to the model: the difference that is carried until the next one. Pure.

A report that differs from the model past the tolerance may be a race between two answers of the venue, or a rule that
is not modelled. Until a second report says the same, only the part of the difference that makes a pool look more
dangerous is carried.
"""

from dataclasses import dataclass, replace

from monitor.margin.risk import Risk
from monitor.model.assessment import Disagreement

MISSED_MAX = 5
"""Snapshots in a row that tell nothing of a pool, after which what the last report said is no longer believed."""
_SMALLEST = 1e-8
"""The last digit that venues print: differences are measured against no less."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """What is carried for a pool.

    `offset` is added to the model, `claim` is the whole difference that the last report showed, `error` its size
    relative to the figures compared. `disagreement` is the figure that the error is of, for people. `missed` counts the
    snapshots since that told nothing of the pool.
    """

    offset: Risk
    claim: Risk
    error: float
    disagreement: Disagreement
    missed: int = 0

    @property
    def is_old(self) -> bool:
        """Whether it says nothing about the present any more."""
        return self.missed >= MISSED_MAX


def after_miss(held: Anchor) -> Anchor:
    """What is left of an anchor after a snapshot that told nothing of its pool: in the end nothing that reassures."""
    held = replace(held, missed=held.missed + 1)
    return replace(held, offset=_frightening(held.offset)) if held.is_old else held


def anchor(report: Risk, model: Risk, *, computed: bool, before: Anchor | None, tolerance: float) -> Anchor | None:
    """Hold a report against the model, both at the report's marks; None where something is unknown.

    `computed`: whether the model computes maintenance; otherwise the report's is the only one and cannot disagree.
    """
    claim = report + model.negative()
    if claim.margin_balance != claim.margin_balance or claim.maintenance_margin != claim.maintenance_margin:
        return None
    error = _relative(claim.margin_balance, report.margin_balance)
    worst = Disagreement("margin balance", model.margin_balance, report.margin_balance)
    of_maintenance = _relative(claim.maintenance_margin, report.maintenance_margin)
    if computed and of_maintenance > error:
        error = of_maintenance
        worst = Disagreement("maintenance margin", model.maintenance_margin, report.maintenance_margin)
    repeated = before is not None and before.error > tolerance and _same(claim, before.claim, report, tolerance)
    if error <= tolerance or repeated:
        return Anchor(claim, claim, error, worst)
    return Anchor(_frightening(claim), claim, error, worst)


def after_change(held: Anchor, *, computed: bool, growth: float) -> Anchor:
    """What is left of an anchor when positions of its pool have changed: nothing that reassures.

    `growth`: how many times its former notional the pool has now. Where maintenance is only reported, it is taken to
    have grown with it.
    """
    if computed:
        return replace(held, offset=_frightening(held.offset))
    grown = held.offset.maintenance_margin * max(1.0, growth)
    return replace(held, offset=Risk(min(0.0, held.offset.margin_balance), grown))


def _frightening(offset: Risk) -> Risk:
    return Risk(min(0.0, offset.margin_balance), max(0.0, offset.maintenance_margin))


def _same(claim: Risk, other: Risk, report: Risk, tolerance: float) -> bool:
    """Whether two claims are one, within the tolerance of the figures they are about."""
    balance, maintenance = (
        claim.margin_balance - other.margin_balance,
        claim.maintenance_margin - other.maintenance_margin,
    )
    return abs(balance) <= tolerance * max(abs(report.margin_balance), _SMALLEST) and abs(
        maintenance
    ) <= tolerance * max(abs(report.maintenance_margin), _SMALLEST)


def _relative(difference: float, reference: float) -> float:
    """|difference| relative to the larger of the two figures compared."""
    if difference == 0.0:
        return 0.0
    return abs(difference) / max(abs(reference), abs(reference - difference), _SMALLEST)
