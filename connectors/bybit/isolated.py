"""The wallet of an isolated position, which Bybit does not state.

``positionIM`` is initial margin with the fee to close, and by all samples with the margin that was added later; that it
always holds the latter is not documented. The liquidation price does: there wallet + profit = maintenance (help centre,
"Liquidation Price", isolated mode). Where the two disagree by more than rounding, the price is believed, because it is
what Bybit acts on.
"""

from collections.abc import Sequence
from math import nan

from connectors.bybit.parse import PositionRow
from monitor.model.instrument import ContractKind, Instrument, Tier

TOLERANCE = 0.005
TICKS = 2.0


def isolated_wallet(row: PositionRow, instrument: Instrument | None) -> float:
    """What the position has without unrealized PnL, in its margin coin; nan when Bybit tells neither figure."""
    stated = nan if row.initial_margin is None else row.initial_margin
    if instrument is None or not instrument.tiers or row.liquidation_price is None:
        return stated
    if row.maintenance_margin is None or row.mark_price is None:
        return stated
    inverse = instrument.kind is ContractKind.INVERSE
    implied = _implied(row, row.liquidation_price, row.mark_price, row.maintenance_margin, instrument)
    step = TICKS * (instrument.tick_size or 0.0)
    near = _value(row.size, row.liquidation_price + step, inverse=inverse)
    rounding = abs(near - _value(row.size, row.liquidation_price, inverse=inverse))
    return stated if abs(implied - stated) <= max(rounding, TOLERANCE * abs(stated)) else implied


def _implied(row: PositionRow, price: float, mark: float, maintenance: float, instrument: Instrument) -> float:
    """Maintenance at the liquidation price less the profit there."""
    inverse = instrument.kind is ContractKind.INVERSE
    here, there = _value(row.size, mark, inverse=inverse), _value(row.size, price, inverse=inverse)
    fee = maintenance - _by_tiers(here, instrument.tiers)
    move = 1.0 / row.entry_price - 1.0 / price if inverse else price - row.entry_price
    return _by_tiers(there, instrument.tiers) + fee - row.size * move


def _value(size: float, price: float, *, inverse: bool) -> float:
    return abs(size) / price if inverse else abs(size) * price


def _by_tiers(value: float, tiers: Sequence[Tier]) -> float:
    tier = next((tier for tier in tiers if tier.cap is None or value <= tier.cap), tiers[-1])
    return value * tier.rate - tier.deduction
