"""Profit of a position. These scalars are the ones the kernel runs at every tick and may compile: keep them plain."""


def price_value(inverse: bool, price: float) -> float:
    """v(p): the price itself for linear contracts, minus its inverse for inverse ones. `price` must be positive."""
    if inverse:
        return -1.0 / price
    return price


def unrealized_pnl(quantity: float, value: float, entry_value: float) -> float:
    """Unrealized PnL in the margin coin: signed quantity times the move of v(p) since entry.

    Binance, "How to calculate unrealized PnL" (FAQ 360033162192): size * (mark - entry) for USD-M,
    contracts * multiplier * (1/entry - 1/mark) for COIN-M.
    """
    return quantity * (value - entry_value)


def notional(quantity: float, value: float) -> float:
    """Notional in the margin coin, never negative: |quantity| * |v(p)|."""
    return abs(quantity * value)
