"""Margin balance and maintenance margin of a pool, as one small value that adds up."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import nan

from monitor.margin.pnl import notional, price_value, unrealized_pnl
from monitor.margin.tiers import Maintenance, segment_at
from monitor.model.account import AccountMode, MarginMode
from monitor.model.assessment import Basis, margin_ratio
from monitor.model.ids import Side, side_of
from monitor.model.instrument import Funding


def maintenance_margin(alpha: float, notional_value: float, beta: float) -> float:
    """Maintenance margin of one leg: alpha * notional + beta, in the pool's unit. Run by the kernel: keep it plain."""
    return alpha * notional_value + beta


@dataclass(frozen=True, slots=True)
class Risk:
    """Margin balance and maintenance margin, in one unit; nan where unknown. A pool is the sum of its parts."""

    margin_balance: float
    maintenance_margin: float

    def __add__(self, other: "Risk") -> "Risk":
        return Risk(self.margin_balance + other.margin_balance, self.maintenance_margin + other.maintenance_margin)

    def negative(self) -> "Risk":
        """Both with the opposite sign, to take a risk away from a sum."""
        return Risk(-self.margin_balance, -self.maintenance_margin)

    @property
    def margin_ratio(self) -> float:
        """Maintenance margin / margin balance, in the project's direction."""
        return margin_ratio(self.margin_balance, self.maintenance_margin)

    @property
    def is_liquidatable(self) -> bool:
        """Whether the venue would liquidate; False when unknown (which is not the same as safe)."""
        return self.margin_ratio >= 1.0


NOTHING = Risk(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Leg:
    """One position inside a pool, ready to compute.

    `quantity` is signed: contracts * multiplier * the margin coin's price in the pool's unit, so that every amount
    comes out in the pool's unit; `maintenance` is in that unit too. `mark` is nan while unknown. `adl_rank`, `funding`
    and `funding_interval_s` are handed through.
    """

    instrument: str
    size: float
    quantity: float
    inverse: bool
    entry_price: float
    maintenance: Maintenance
    mark: float
    adl_rank: int | None = None
    funding: Funding | None = None
    funding_interval_s: float | None = None

    @property
    def side(self) -> Side:
        """Direction."""
        return side_of(self.quantity)

    def notional(self, price: float) -> float:
        """Notional at `price`, in the pool's unit; nan when the price is."""
        return notional(self.quantity, price_value(self.inverse, price))

    def unrealized_pnl(self, price: float) -> float:
        """Unrealized PnL at `price`, in the pool's unit; nan when the price is."""
        return unrealized_pnl(
            self.quantity, price_value(self.inverse, price), price_value(self.inverse, self.entry_price)
        )

    def maintenance_margin(self, price: float) -> float:
        """Maintenance margin at `price`, in the pool's unit; nan when the price is or no tier is known."""
        return self.maintenance_of(self.notional(price))

    def maintenance_of(self, value: float, share: float = 1.0) -> float:
        """Maintenance margin at a notional, of a leg of which only a `share` is open."""
        if value != value or not self.maintenance.first:
            return nan
        segment = self.maintenance.at(value)
        return maintenance_margin(segment.alpha, value, segment.beta + self.maintenance.shift * share)

    def relief(self, price: float) -> float:
        """By how much less than for the first stage is required for the last one, at `price`; 0.0 without stages."""
        if not self.maintenance.full:
            return 0.0
        value = self.notional(price)
        first, last = self.maintenance.at(value), segment_at(self.maintenance.full, value)
        return (first.alpha - last.alpha) * value + first.beta - last.beta

    def risk(self, price: float) -> Risk:
        """The leg's part in its pool's risk at `price`."""
        value, entry_value = price_value(self.inverse, price), price_value(self.inverse, self.entry_price)
        maintenance = self.maintenance_of(notional(self.quantity, value))
        return Risk(unrealized_pnl(self.quantity, value, entry_value), maintenance)


@dataclass(frozen=True, slots=True)
class Pool:
    """What is liquidated as one unit, ready to compute.

    `base` holds what does not move with the legs' marks: collateral after haircut, and the anchoring offsets of both
    margin balance and maintenance margin. `cut_releases_margin`: closing part of a leg frees the same part of `base`
    (isolated wallets on venues that scale them with the position). `lacking` names what belongs to the pool and is not
    among its legs, because too little is known of it; `base` is nan then. `mode` is the account's, `margin_mode` that
    of all its legs.
    """

    venue: str
    account: str
    scope: str
    unit: str
    basis: Basis
    base: Risk
    legs: tuple[Leg, ...]
    cut_releases_margin: bool = False
    lacking: tuple[str, ...] = ()
    mode: AccountMode = AccountMode.SINGLE_ASSET
    margin_mode: MarginMode = MarginMode.CROSS

    def risk(self) -> Risk:
        """Risk at the legs' marks."""
        return sum_risk(self.base, (leg.risk(leg.mark) for leg in self.legs))


def sum_risk(base: Risk, parts: Iterable[Risk]) -> Risk:
    """`base` plus all `parts`."""
    balance, maintenance = base.margin_balance, base.maintenance_margin
    for part in parts:
        balance += part.margin_balance
        maintenance += part.maintenance_margin
    return Risk(balance, maintenance)
