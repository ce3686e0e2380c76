"""Contracts of the simulated OKX."""

from typing import Any


def coin_of(symbol: str) -> str:
    """The margin coin."""
    base, quote, _ = symbol.split("-")
    return base if quote == "USD" else quote


def multiplier_of(symbol: str) -> float:
    """Of one contract: coins, of inverse ones dollars."""
    return {"BTC-USDT-SWAP": 0.01, "ETH-USDT-SWAP": 0.1, "SOL-USDT-SWAP": 1.0}.get(symbol, 100.0)


def family_of(symbol: str) -> str:
    """By which its tiers are asked for."""
    return symbol.removesuffix("-SWAP")


def contract_row(symbol: str) -> dict[str, Any]:
    """A row of ``account/instruments``."""
    base, quote, _ = symbol.split("-")
    return {
        "instType": "SWAP", "instId": symbol, "instFamily": f"{base}-{quote}", "uly": f"{base}-{quote}",
        "ctType": "inverse" if quote == "USD" else "linear", "ctVal": f"{multiplier_of(symbol):g}", "ctMult": "1",
        "ctValCcy": "USD" if quote == "USD" else base, "settleCcy": coin_of(symbol), "lotSz": "0.01",
        "tickSz": "0.1" if base in ("BTC", "ETH") else "0.01", "groupId": "1", "state": "live", "lever": "100",
        "ruleType": "normal",
    }  # fmt: skip
