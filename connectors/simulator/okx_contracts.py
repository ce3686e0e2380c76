"""Contracts of the simulated OKX, and how it counts a currency."""

from collections.abc import Sequence
from typing import Any


def kind_of(symbol: str) -> str:
    """``SWAP``, ``FUTURES`` or ``OPTION``."""
    if symbol.endswith("-SWAP"):
        return "SWAP"
    return "OPTION" if symbol.endswith(("-C", "-P")) else "FUTURES"


def is_inverse(symbol: str) -> bool:
    """Whether it is a contract of dollars, margined in its coin. Options are margined in it as well, and linear."""
    return symbol.split("-")[1] == "USD" and kind_of(symbol) != "OPTION"


def coin_of(symbol: str) -> str:
    """The margin coin."""
    base, quote, *_ = symbol.split("-")
    return base if quote == "USD" else quote


def multiplier_of(symbol: str) -> float:
    """Of one contract: coins, of inverse ones dollars."""
    if kind_of(symbol) == "OPTION":
        return 0.01
    named = {"BTC-USDT": 0.01, "ETH-USDT": 0.1, "SOL-USDT": 1.0}
    return named.get(family_of(symbol), 100.0)


def family_of(symbol: str) -> str:
    """By which its tiers are asked for."""
    return "-".join(symbol.split("-")[:2])


def contract_row(symbol: str) -> dict[str, Any]:
    """A row of ``account/instruments``."""
    base, option = symbol.split("-")[0], kind_of(symbol) == "OPTION"
    return {
        "instType": kind_of(symbol), "instId": symbol, "instFamily": family_of(symbol), "uly": family_of(symbol),
        "ctType": "" if option else "inverse" if is_inverse(symbol) else "linear",
        "ctVal": f"{multiplier_of(symbol):g}", "ctMult": "1",
        "ctValCcy": "USD" if is_inverse(symbol) else base, "settleCcy": coin_of(symbol), "lotSz": "0.01",
        "tickSz": "0.1" if base in ("BTC", "ETH") else "0.01", "groupId": "1", "state": "live", "lever": "100",
        "ruleType": "normal",
    }  # fmt: skip


def discounted(equity: float, steps: Sequence[tuple[float, float]]) -> float:
    """How many coins of an equity count: of the part up to each limit its share, without steps all; a debt in full."""
    if equity <= 0.0 or not steps:
        return equity
    counted, floor = 0.0, 0.0
    for limit, share in steps:
        counted += share * max(0.0, min(equity, limit) - floor)
        floor = limit
    return counted
