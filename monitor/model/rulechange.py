"""What a change of the venue's rules did to a pool whose positions did not change."""

from dataclasses import dataclass
from enum import StrEnum
from math import inf

from monitor.model.assessment import PoolAssessment
from monitor.model.ids import Side


class RuleInput(StrEnum):
    """Which of the venue's rules is another now; the words are for people."""

    MAINTENANCE_RATE = "maintenance rate"
    TIERS = "tier table"
    TAKER_FEE_RATE = "taker fee"
    MULTIPLIER = "contract multiplier"
    TICK_SIZE = "tick size"
    HAIRCUT = "haircut"


@dataclass(frozen=True, slots=True)
class RuleChange:
    """One rule's value before and after; None where it was not known, and for both where it is no single number.

    `of` is the instrument or, for a haircut, the coin. `MAINTENANCE_RATE` is the share of the notional that is required
    in the tier in which the liquidation price lies, with the fees that the venue counts to it.
    """

    of: str
    rule: RuleInput
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True)
class MovedPrice:
    """One position's liquidation price under the former rules and under the present ones, None where there is none.

    Both distances are from the same mark, as in `LegAssessment`.
    """

    instrument: str
    side: Side
    before: float | None
    after: float | None
    distance_before: float | None
    distance: float | None

    @property
    def worse(self) -> bool:
        """Whether the liquidation price came nearer to the mark, appeared, or is farther behind it."""
        return _far(self.distance) < _far(self.distance_before)


@dataclass(frozen=True, slots=True)
class RulesChanged:
    """A pool whose liquidation prices have moved because rules changed, and nothing else.

    `pool` is assessed under the present rules. `moved` has every position whose price moved, the worst first, and is
    never empty; `changes` says what changed, as far as it can be told.
    """

    pool: PoolAssessment
    moved: tuple[MovedPrice, ...]
    changes: tuple[RuleChange, ...]


def _far(distance: float | None) -> float:
    return inf if distance is None else distance
