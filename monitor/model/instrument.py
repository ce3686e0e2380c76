"""Instruments and their maintenance tiers."""

from dataclasses import dataclass
from enum import StrEnum


class ContractKind(StrEnum):
    """How profit grows with price: with the price itself, or with minus its inverse (paid in the base coin)."""

    LINEAR = "linear"
    INVERSE = "inverse"


@dataclass(frozen=True, slots=True)
class Tier:
    """One maintenance bracket: between `floor` and `cap`, maintenance = measure * `rate` - `deduction`.

    The measure is the venue's: notional in the margin coin for most, contracts for some. `cap` None means without end.
    """

    floor: float
    cap: float | None
    rate: float
    deduction: float


@dataclass(frozen=True, slots=True)
class Funding:
    """What holding a perpetual costs, as the venue tells it at the moment.

    `rate` is the share of its notional that a long pays a short at the next payment (the other way where it is below
    zero), an estimate until then. `next_at` is when, in seconds since the epoch, None where the venue does not say.
    """

    rate: float
    next_at: float | None


@dataclass(frozen=True, slots=True)
class Instrument:
    """One contract as the venue defines it for one account.

    `symbol` is the venue's own. `multiplier`: base units (linear) or quote units (inverse) per contract.
    `tick_size` and `taker_fee_rate` are None when the venue did not tell; `funding_interval_s`, the seconds between two
    payments of funding, also when there is no funding. `tiers` are in ascending order and may be
    the account's own (venues scale them per user); empty means unknown, and then no maintenance can be computed.
    `isolated_tiers` are those of isolated positions, where the venue has a table for each margin mode; None: the same.
    """

    symbol: str
    kind: ContractKind
    margin_coin: str
    multiplier: float
    tiers: tuple[Tier, ...]
    tick_size: float | None = None
    taker_fee_rate: float | None = None
    funding_interval_s: float | None = None
    isolated_tiers: tuple[Tier, ...] | None = None
