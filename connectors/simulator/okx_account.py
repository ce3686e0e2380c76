"""The account of the simulated OKX: what it holds, and what OKX's published formulas make of that at these marks.

Pure; tests change it at will.
"""

from dataclasses import dataclass, field
from math import inf
from typing import Any

from connectors.simulator.okx_contracts import coin_of, discounted, family_of, is_inverse, multiplier_of
from connectors.simulator.venue import Leg, Risk, side_of

FEE = 0.0005

TIERS = ((1000, 0.004), (5000, 0.0065), (10_000, 0.01), (20_000, 0.02))
"""Last contract and maintenance rate."""

THIN_TIERS = ((12_000, 0.01), (30_000, 0.015), (60_000, 0.03))
"""The same of contracts that trade less."""


@dataclass
class Position:
    """What the account holds in one slot. `size` is signed; `margin` of an isolated position."""

    symbol: str = "BTC-USDT-SWAP"
    size: float = 1.0
    entry: float = 75_000.0
    mode: str = "isolated"
    side: str = "net"
    margin: float = 100.0
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass
class State:
    """The account and the market; tests change it at will."""

    level: str = "2"
    position_mode: str = "net_mode"
    permissions: str = "read_only"
    gear: str = "3"
    cash: dict[str, float] = field(default_factory=lambda: {"USDT": 50_000.0})
    usd: dict[str, float] = field(default_factory=lambda: {"USDT": 1.0005, "BTC": 75_000.0})
    discount: dict[str, tuple[tuple[float, float], ...]] = field(default_factory=lambda: {"BTC": ((inf, 0.95),)})
    """Of currencies that do not count in full: up to so many of it, this share of each."""
    indexes: tuple[str, ...] = ("USDT", "BTC")
    """Currencies that have an index in USD."""
    totals: bool = True
    """Whether the figures over all currencies are told, where there are any."""
    empty: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Figures of currencies that are left empty."""
    unlisted: set[str] = field(default_factory=set)
    """Contracts that are traded and not among those that are listed."""
    maintenance: float = 40.0
    """Of the whole account under portfolio margin."""
    taker: str = "-0.0005"
    tiers: tuple[tuple[int, float], ...] = TIERS
    funding_interval_s: float = 28_800.0
    page: int = 100
    """Positions, or currencies, on a page of a push."""
    isolated_share: float = 1.0
    """By so many times the rates of isolated positions are those of cross ones."""
    positions: list[Position] = field(default_factory=lambda: [Position()])
    marks: dict[str, float] = field(
        default_factory=lambda: {"BTC-USDT-SWAP": 75_000.0, "ETH-USDT-SWAP": 4_000.0, "BTC-USD-SWAP": 75_000.0}
    )

    def figures(self, held: Position) -> tuple[float, float, float]:
        """Notional, profit and maintenance rate of a position."""
        mark, inverse = self.marks[held.symbol], is_inverse(held.symbol)
        quantity = held.size * multiplier_of(held.symbol)
        notional = abs(quantity) / mark if inverse else abs(quantity) * mark
        profit = quantity * (1 / held.entry - 1 / mark) if inverse else quantity * (mark - held.entry)
        same = [p for p in self.positions if p.mode == "cross" and p.symbol == held.symbol]
        contracts = sum(abs(p.size) for p in same) if held.mode == "cross" else abs(held.size)
        return (
            notional,
            profit,
            next(rate for last, rate in self.tiers_of(family_of(held.symbol), held.mode) if contracts <= last),
        )

    def cross(self, coin: str) -> tuple[float, float, float]:
        """Profit, maintenance, and maintenance with fees of the cross positions in a coin."""
        figures = [self.figures(p) for p in self.positions if p.mode == "cross" and coin_of(p.symbol) == coin]
        return (
            sum(profit for _, profit, _ in figures),
            sum(notional * rate for notional, _, rate in figures),
            sum(notional * (rate + FEE) for notional, _, rate in figures),
        )

    def worth(self, coin: str) -> float:
        """What a coin's cash and the profit in it count for, in USD."""
        return discounted(self.cash[coin] + self.cross(coin)[0], self.discount.get(coin, ())) * self.usd[coin]

    def isolated_equity(self, coin: str) -> float:
        """Margin and profit of the isolated positions in a coin."""
        alone = [p for p in self.positions if p.mode == "isolated" and p.size and coin_of(p.symbol) == coin]
        return sum(p.margin + self.figures(p)[1] for p in alone)

    def whole(self) -> tuple[float, float, float]:
        """Equity, maintenance, and maintenance with fees over all coins, in USD."""
        equity = sum(self.worth(coin) for coin in self.cash)
        crosses = {coin: self.cross(coin) for coin in self.cash}
        required = sum(mm * self.usd[coin] for coin, (_, mm, _) in crosses.items())
        with_fees = sum(mm * self.usd[coin] for coin, (_, _, mm) in crosses.items())
        if self.level == "4":
            with_fees += self.maintenance - required
            required = self.maintenance
        return equity, required, with_fees

    def tiers_of(self, family: str, mode: str) -> tuple[tuple[int, float], ...]:
        """Last contract and maintenance rate of a family's tiers, in a margin mode."""
        tiers = self.tiers if family.startswith(("BTC-", "ETH-")) else THIN_TIERS
        share = self.isolated_share if mode == "isolated" else 1.0
        return tuple((last, rate * share) for last, rate in tiers)

    def risks(self) -> list[Risk]:
        """Isolated positions, and the cross ones by coin or, in multi-currency mode, together in USD."""
        held = [p for p in self.positions if p.size]
        scopes = {self.scope_of(p): [q for q in held if self.scope_of(q) == self.scope_of(p)] for p in held}
        return [self._risk(scope, positions) for scope, positions in scopes.items()]

    def scope_of(self, held: Position) -> str:
        """The pool to which a position belongs."""
        if held.mode == "isolated":
            return f"{held.symbol}:{side_of(held.size)}"
        return coin_of(held.symbol) if self.level == "2" else "multi"

    def _risk(self, scope: str, positions: list[Position]) -> Risk:
        first, unit = positions[0], "USD" if scope == "multi" else coin_of(positions[0].symbol)
        legs = tuple(
            Leg(
                p.symbol,
                p.side,
                p.size,
                p.entry,
                self.figures(p)[0] * (self.usd[coin_of(p.symbol)] if unit == "USD" else 1),
            )
            for p in positions
        )
        if first.mode == "isolated":
            notional, profit, rate = self.figures(first)
            return Risk(scope, unit, first.margin + profit, notional * (rate + FEE), legs)
        if scope == "multi":
            equity, _, with_fees = self.whole()
            return Risk(scope, unit, equity, with_fees, legs)
        profit, _, with_fees = self.cross(unit)
        return Risk(scope, unit, self.cash[unit] + profit, with_fees, legs)

    def take_over(self, scope: str) -> list[Position]:
        """Liquidate a pool: the positions are gone, and with them their margin. Returns what is left of them."""
        lost = [held for held in self.positions if held.size and self.scope_of(held) == scope]
        if lost[0].mode == "cross":
            coins = [scope] if self.level == "2" else list(self.cash)
            self.cash |= dict.fromkeys(coins, 0.0)
        for held in lost:
            held.size = held.margin = 0.0
        self.positions = [held for held in self.positions if held not in lost]
        return lost
