"""Building accounts for tests in few words."""

from collections.abc import Sequence

from monitor.margin.tiers import cumulative_deductions
from monitor.model.account import Account, AccountMode, MarginMode, Position, PositionMode, Wallet
from monitor.model.ids import Slot
from monitor.model.instrument import ContractKind, Instrument, Tier

BTC_FLOORS = (0, 300e3, 800e3, 3e6, 12e6, 70e6, 100e6, 230e6, 480e6, 600e6, 800e6, 1.2e9)
BTC_RATES = (0.004, 0.005, 0.0065, 0.01, 0.02, 0.025, 0.05, 0.1, 0.125, 0.15, 0.25, 0.5)


def tiers(floors: Sequence[float], rates: Sequence[float], cap: float | None = None) -> tuple[Tier, ...]:
    """A continuous tier table."""
    deductions = cumulative_deductions(floors, rates)
    caps = [*floors[1:], cap]
    return tuple(Tier(f, c, r, d) for f, c, r, d in zip(floors, caps, rates, deductions, strict=True))


def flat_tier(rate: float, deduction: float = 0.0) -> tuple[Tier, ...]:
    """One tier for every notional."""
    return (Tier(0.0, None, rate, deduction),)


def linear(symbol: str, tier_table: tuple[Tier, ...], coin: str = "USDT") -> Instrument:
    """A linear contract of one base unit."""
    return Instrument(symbol, ContractKind.LINEAR, coin, 1.0, tier_table)


def isolated(symbol: str, size: float, entry: float, wallet: float, slot: Slot = Slot.BOTH) -> Position:
    """An isolated position; `size` is signed."""
    return Position(symbol, slot, size, entry, MarginMode.ISOLATED, wallet)


def cross(symbol: str, size: float, entry: float, slot: Slot = Slot.BOTH) -> Position:
    """A cross position; `size` is signed."""
    return Position(symbol, slot, size, entry, MarginMode.CROSS)


def account(
    positions: Sequence[Position],
    instruments: Sequence[Instrument],
    wallets: Sequence[Wallet] = (),
    position_mode: PositionMode = PositionMode.ONE_WAY,
    account_mode: AccountMode = AccountMode.SINGLE_ASSET,
) -> Account:
    """A Binance account."""
    by_symbol = {instrument.symbol: instrument for instrument in instruments}
    return Account("binance", "test", account_mode, position_mode, tuple(wallets), tuple(positions), by_symbol)
