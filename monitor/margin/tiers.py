"""Maintenance tiers, and the segments of maintenance by notional that follow from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from monitor.model.instrument import Tier


@dataclass(frozen=True, slots=True)
class Segment:
    """Between notionals `floor` and `cap` (inclusive), maintenance margin = `alpha` * notional + `beta`."""

    floor: float
    cap: float
    alpha: float
    beta: float


@dataclass(frozen=True, slots=True)
class Maintenance:
    """What a venue requires for one position, by its notional; `first` is empty where that is not known.

    `first` is the stage at which the venue begins to liquidate, `full` the last one where that differs. `shift` is
    added to both at every notional: what depends on the position but not on the mark, such as a fee fixed at entry.
    `ahead` is by how much nearer to the mark, in price, the venue states a position's liquidation price than where
    margin balance and maintenance meet.
    """

    first: tuple[Segment, ...]
    full: tuple[Segment, ...] | None = None
    shift: float = 0.0
    ahead: float = 0.0

    def scaled(self, factor: float) -> "Maintenance":
        """The same with notional and maintenance expressed in another unit, `factor` units for one."""
        if factor == 1.0:
            return self
        full = None if self.full is None else scale(self.full, factor)
        return Maintenance(scale(self.first, factor), full, self.shift * factor, self.ahead)

    def at(self, notional: float) -> Segment:
        """The segment of the first stage that holds at `notional`."""
        return segment_at(self.first, notional)


UNKNOWN = Maintenance(())
NO_MAINTENANCE = Maintenance((Segment(0.0, inf, 0.0, 0.0),))
"""Nothing is required, at any notional."""


def cumulative_deductions(floors: Sequence[float], rates: Sequence[float]) -> list[float]:
    """Deductions that make bracket maintenance continuous, one per tier.

    Binance FAQ 360033162192: cum_1 = 0, cum_k = cum_(k-1) + floor_k * (rate_k - rate_(k-1)).
    """
    deductions = [0.0]
    for (_, low_rate), (floor, rate) in pairwise(zip(floors, rates, strict=True)):
        deductions.append(deductions[-1] + floor * (rate - low_rate))
    return deductions


def segments_by_notional(tiers: Sequence[Tier], fee_rate: float = 0.0) -> tuple[Segment, ...]:
    """Segments for venues whose tiers are chosen by notional: maintenance = notional * rate - deduction.

    `fee_rate` is added to every rate, for venues that count the fee to close. Maintenance above the last cap goes on at
    the last tier's rate: a position past the table is not a position without maintenance.
    """
    last = len(tiers) - 1
    return tuple(
        Segment(
            tier.floor if i else 0.0,
            inf if tier.cap is None or i == last else tier.cap,
            tier.rate + fee_rate,
            -tier.deduction,
        )
        for i, tier in enumerate(tiers)
    )


def scale(segments: tuple[Segment, ...], factor: float) -> tuple[Segment, ...]:
    """The same segments with notional and maintenance expressed in another unit, `factor` units for one."""
    if factor == 1.0:
        return segments
    return tuple(Segment(s.floor * factor, s.cap * factor, s.alpha, s.beta * factor) for s in segments)


def segment_at(segments: Sequence[Segment], notional: float) -> Segment:
    """The segment that holds at `notional`; a notional on an edge belongs to the lower one (floor < notional <= cap).

    Binance does not say which side an edge belongs to; its maintenance is continuous there, so both give the same.
    """
    for segment in segments:  # nearly every position is in one of the first
        if notional <= segment.cap:
            return segment
    return segments[-1]
