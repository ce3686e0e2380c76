"""What an account holds."""

from dataclasses import dataclass, field
from enum import StrEnum

from monitor.model.ids import Side, Slot, side_of
from monitor.model.instrument import Instrument


class MarginMode(StrEnum):
    """Whether a position has a wallet of its own or shares one."""

    ISOLATED = "isolated"
    CROSS = "cross"


class AccountMode(StrEnum):
    """How cross positions share collateral."""

    SINGLE_ASSET = "single-asset"
    MULTI_ASSET = "multi-asset"
    PORTFOLIO = "portfolio"
    """All collateral together, and a maintenance that only the venue can compute."""


class PositionMode(StrEnum):
    """One position per instrument, or a long and a short side by side."""

    ONE_WAY = "one-way"
    HEDGE = "hedge"


@dataclass(frozen=True, slots=True)
class Wallet:
    """One coin's collateral shared by cross positions.

    `balance` is in the coin, without unrealized PnL and without isolated wallets, nan while it is not known. `price` is
    one coin in the pool's unit and `haircut` the share of its value that does not count. `updated_ms` is the venue's
    time of the figure. `profit` is for venues that take the haircut on unrealized PnL as well: so many coins of it the
    positions had when this was told.
    """

    coin: str
    balance: float
    price: float = 1.0
    haircut: float = 0.0
    updated_ms: int = 0
    profit: float = 0.0


@dataclass(frozen=True, slots=True)
class Position:
    """One position. `size` is signed, in contracts; zero closes the slot.

    `isolated_wallet` is the position's own wallet without unrealized PnL, in the margin coin (isolated only).
    `mark_price` is the mark that the venue's message carried or implied, None when it told none. `adl_rank` is the
    position's place in the queue for auto-deleveraging, 0 to 5 (first in line), None where the venue does not say.
    """

    instrument: str
    slot: Slot
    size: float
    entry_price: float
    margin_mode: MarginMode
    isolated_wallet: float = 0.0
    leverage: float | None = None
    mark_price: float | None = None
    updated_ms: int = 0
    adl_rank: int | None = None

    @property
    def side(self) -> Side:
        """Direction of the position."""
        return side_of(self.size)


@dataclass(frozen=True, slots=True)
class Account:
    """All that is needed, with marks, to compute every pool of one account."""

    venue: str
    name: str
    account_mode: AccountMode
    position_mode: PositionMode
    wallets: tuple[Wallet, ...]
    positions: tuple[Position, ...]
    instruments: dict[str, Instrument] = field(default_factory=dict)
