"""What is known about a pool at one moment.

**The direction of margin ratio, stated once:** margin ratio = maintenance margin / margin balance. It rises with
danger; 1.0 is the venue's first liquidation stage; a margin balance of zero or less with risk open is +inf. Venues that
count the other way are translated in `monitor/margin/venues/`, and their own figure is carried as
`venue_margin_ratio`, never mixed with this one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf, nan

import numpy as np
from numpy.typing import NDArray

from monitor.model.ids import Side


def margin_ratio(margin_balance: float, maintenance_margin: float) -> float:
    """Maintenance margin / margin balance, as defined in this module's docstring; nan when either is unknown."""
    if margin_balance != margin_balance or maintenance_margin != maintenance_margin:
        return nan
    if margin_balance > 0.0:
        return max(maintenance_margin, 0.0) / margin_balance
    return inf if maintenance_margin > 0.0 or margin_balance < 0.0 else 0.0


class Basis(StrEnum):
    """Whether maintenance is computed from the venue's rules or held as the venue last reported it."""

    COMPUTED = "computed"
    REPORTED = "reported"


@dataclass(frozen=True, slots=True)
class LegAssessment:
    """One position inside a pool. Prices None mean "there is none"; nan means unknown.

    `maintenance_margin` is nan as well where the venue reports one for the whole pool only. `size` is unsigned, in
    contracts. `distance` is the relative move of the mark to the liquidation price, positive while safe, None where
    there is no liquidation price. `adl_rank` is the place in the venue's queue for auto-deleveraging, 0 to 5 (first in
    line), None where the venue does not say. `next_funding` is what the next payment of funding brings at the mark of
    now, below zero where it costs, in the pool's unit; `funding_rate` and `next_funding_at` are as in `Funding`, and
    `funding_interval_s` the time between two payments; each None where it is not told.
    """

    instrument: str
    side: Side
    size: float
    mark_price: float
    notional: float
    unrealized_pnl: float
    maintenance_margin: float
    liquidation_price: float | None
    full_liquidation_price: float | None
    bankruptcy_price: float | None
    distance: float | None
    adl_rank: int | None = None
    funding_rate: float | None = None
    next_funding: float | None = None
    next_funding_at: float | None = None
    funding_interval_s: float | None = None


@dataclass(frozen=True, slots=True)
class Remedy:
    """What would bring a pool back to `target_ratio`: either of the two, at the present marks.

    `add_collateral` is in the pool's unit; `cut_fraction` is the share of every leg's size to close (0 to 1), None
    where even closing everything would not do.
    """

    target_ratio: float
    add_collateral: float
    cut_fraction: float | None


@dataclass(frozen=True, slots=True)
class DistanceRemedy:
    """What would bring every leg's liquidation price farther away than `target_distance`: either of the two.

    Both as in `Remedy`; `cut_fraction` is None as well where no such share is known.
    """

    target_distance: float
    add_collateral: float
    cut_fraction: float | None


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A pool's figure as computed and as the venue reported it, both at the report's marks and in the pool's unit.

    `figure` names it for people. Of margin balance and maintenance margin it is the one that differs more, relatively;
    what was carried over from earlier reports is not in `computed`.
    """

    figure: str
    computed: float
    reported: float


@dataclass(frozen=True, slots=True)
class PoolAssessment:
    """One pool at one moment; amounts in `unit`.

    `marked_at` is the venue's time (seconds since the epoch) of the oldest mark used, None without one. `unknown` names
    what keeps the figures from being known (then they are nan); an unknown pool is never safe. `distance` is the
    smallest of the legs', None where no leg has one. `remedy` is present when the ratio is above where the first rung
    lets go, `distance_remedy` when the distance is at or below where its ladder's does; both only where asked for.
    `model_error` is the relative size of `disagreement`, both from the venue's last report; None without one.
    """

    pool: str
    venue: str
    account: str
    scope: str
    basis: Basis
    unit: str
    margin_balance: float
    maintenance_margin: float
    margin_ratio: float
    venue_margin_ratio: float | None
    legs: tuple[LegAssessment, ...]
    distance: float | None = None
    marked_at: float | None = None
    model_error: float | None = None
    disagreement: Disagreement | None = None
    remedy: Remedy | None = None
    distance_remedy: DistanceRemedy | None = None
    unknown: tuple[str, ...] = ()
    stale: bool = False
    """Whether a mark behind the figures has grown old: they may accuse, but not acquit."""
    account_stale: bool = False
    """Whether the account is not in sync, or its user stream has fallen silent."""

    @property
    def old(self) -> bool:
        """Whether the figures may be of another time than they seem to be."""
        return self.stale or self.account_stale


@dataclass(frozen=True, slots=True)
class PoolTable:
    """All pools as columns of equal length, cheap to take at any moment; unknown figures are nan.

    `old` is as in `PoolAssessment`.
    """

    pools: Sequence[str]
    margin_balance: NDArray[np.float64]
    maintenance_margin: NDArray[np.float64]
    margin_ratio: NDArray[np.float64]
    old: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class AccountSight:
    """Whether an account was ever read whole, and whether it is in sync and its user stream alive now."""

    venue: str
    account: str
    read: bool
    fresh: bool


class FeedState(StrEnum):
    """Health of a stream by the age of its data."""

    LIVE = "live"
    LATE = "late"
    STALE = "stale"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class FeedHealth:
    """One stream's health. `age_s` is the age of its newest data, None before any came."""

    venue: str
    account: str
    stream: str
    state: FeedState
    age_s: float | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Blindness:
    """What an account's watcher cannot see at the moment, and how much risk stands behind it.

    `stream` is ``mark``, ``user`` or ``account`` (not yet, or no longer, in sync). `instruments` are those whose marks
    are missing (mark only). `notional` is the sum of the open legs' notional at their last marks, in the pools' units,
    `amounts` the same by unit, and `worst_ratio` the highest last known margin ratio behind it. `age_s` is the age of
    the newest data, None when there never was any; `detail` says why, and of no time, which goes on.
    """

    venue: str
    account: str
    stream: str
    state: FeedState
    instruments: tuple[str, ...]
    age_s: float | None
    notional: float
    worst_ratio: float | None
    detail: str
    amounts: tuple[tuple[str, float], ...] = ()
