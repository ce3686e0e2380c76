"""Contracts, tiers and collateral of the simulated Bybit."""

from typing import Any


def margin_coin_of(symbol: str) -> str:
    """The coin itself, USDC or USDT."""
    if symbol.endswith("USD"):
        return symbol.removesuffix("USD")
    return "USDC" if symbol.endswith("PERP") else "USDT"


def counted(coin: str, balance: float) -> float:
    """Coins after the collateral ratio: 95 % of the first and 90 % of every further bitcoin; dollars in full."""
    if coin in ("USDT", "USDC") or balance <= 0:
        return balance
    return 0.95 * min(balance, 1.0) + 0.9 * max(balance - 1.0, 0.0)


def base_of(symbol: str) -> str:
    """The coin that is traded."""
    return symbol.removesuffix("USDT").removesuffix("USD").removesuffix("PERP")


def contract_row(symbol: str) -> dict[str, Any]:
    """A row of ``instruments-info``."""
    inverse = symbol.endswith("USD")
    base = base_of(symbol)
    return {
        "symbol": symbol, "contractType": "InversePerpetual" if inverse else "LinearPerpetual", "status": "Trading",
        "baseCoin": base, "quoteCoin": "USD" if inverse else "USDT",
        "settleCoin": margin_coin_of(symbol),
        "priceFilter": {"minPrice": "0.1", "maxPrice": "1999999.8", "tickSize": "0.1"},
    }  # fmt: skip


def limits_of(symbol: str) -> tuple[tuple[float, float, float], ...]:
    """Limit, rate and deduction of the two tiers; those of inverse contracts are in the coin."""
    if symbol.endswith("USD"):
        return (30.0, 0.005, 0.0), (60.0, 0.0056, 0.018)
    if symbol.startswith(("BTC", "ETH")):
        return (2_000_000.0, 0.005, 0.0), (2_600_000.0, 0.0056, 1200.0)
    return (400_000.0, 0.01, 0.0), (800_000.0, 0.015, 2000.0)


def maintenance_of(symbol: str, value: float) -> float:
    """Of a position's value; where the tiers meet, both give the same."""
    return max(value * rate - deduction for _, rate, deduction in limits_of(symbol))


def tier_rows(symbol: str, first_rate: str) -> list[dict[str, Any]]:
    """Rows of ``risk-limit``; `first_rate` stands in the first instead of its own, unless empty."""
    leverages = ("0.01", "100.00"), ("0.0111", "90.00")
    return [
        {
            "id": i + 1, "symbol": symbol, "riskLimitValue": f"{limit:g}" if limit < 100 else f"{limit:.0f}",
            "maintenanceMargin": first_rate if first_rate and i == 0 else f"{rate:g}", "initialMargin": initial,
            "isLowestRisk": int(i == 0), "maxLeverage": most, "mmDeduction": f"{deduction:g}" if deduction else "",
        }
        for i, ((limit, rate, deduction), (initial, most)) in enumerate(zip(limits_of(symbol), leverages, strict=True))
    ]  # fmt: skip
