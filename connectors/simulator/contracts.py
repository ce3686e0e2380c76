"""Contracts of the simulated venue: their brackets, and the assets they are margined in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from connectors.simulator.wire import ONE, ZERO

# The venue's ``st``: which of its two kinds of futures a contract (or here an account) belongs to.
USD_M = 1
COIN_M = 2


class ContractType(StrEnum):
    """The venue's word for what kind of contract it is."""

    PERPETUAL = "PERPETUAL"
    TRADIFI = "TRADIFI_PERPETUAL"
    QUARTER = "CURRENT_QUARTER"


@dataclass(frozen=True, slots=True)
class Bracket:
    """One row of a maintenance table: valid for ``floor < notional <= cap``."""

    level: int
    floor: Decimal
    cap: Decimal
    rate: Decimal
    cum: Decimal
    max_leverage: int


@dataclass(frozen=True, slots=True)
class Contract:
    """A linear contract, or (``universe == 2``) a COIN-M one: `size` USD each, paid and margined in the base coin."""

    symbol: str
    base: str
    quote: str
    margin_asset: str
    tick_size: Decimal
    step_size: Decimal
    brackets: tuple[Bracket, ...]
    liquidation_fee: Decimal = Decimal("0.0125")
    taker_fee_rate: Decimal = Decimal("0.0005")
    contract_type: ContractType = ContractType.PERPETUAL
    universe: int = USD_M
    size: Decimal = ONE
    follows: str = ""

    def pnl(self, amount: Decimal, entry_price: Decimal, mark: Decimal) -> Decimal:
        """Unrealized profit of a signed amount at a mark, in the margin asset."""
        if self.universe == USD_M:
            return amount * (mark - entry_price)
        return amount * self.size * (ONE / entry_price - ONE / mark) if amount else ZERO

    def notional(self, amount: Decimal, mark: Decimal) -> Decimal:
        """Absolute value of an amount at a mark, in the margin asset."""
        return abs(amount) * mark if self.universe == USD_M else abs(amount) * self.size / mark

    def average(self, amount: Decimal, entry_price: Decimal, more: Decimal, price: Decimal) -> Decimal:
        """The entry price after opening `more` at a price: what the profit of both together is counted from."""
        if self.universe == USD_M:
            return (amount * entry_price + more * price) / (amount + more)
        held = amount / entry_price if amount else ZERO
        return (amount + more) / (held + more / price)

    def bracket(self, notional: Decimal) -> Bracket:
        """The bracket of an absolute notional; the last one also serves what lies above its cap."""
        for row in self.brackets:
            if notional <= row.cap:
                return row
        return self.brackets[-1]

    def maintenance(self, notional: Decimal) -> Decimal:
        """Maintenance margin of an absolute notional: notional times the bracket's rate, less its `cum`."""
        if notional == ZERO:
            return ZERO
        row = self.bracket(notional)
        return notional * row.rate - row.cum


@dataclass(frozen=True, slots=True)
class Asset:
    """A margin asset and how multi-assets mode values it (in USD; buffers as fractions of the index)."""

    name: str
    index: Decimal
    bid_buffer: Decimal
    ask_buffer: Decimal
    auto_exchange_buffer: Decimal
    auto_exchange: Decimal
    follows: str = ""


def bracket_table(rows: Sequence[tuple[str, str, int]], top: str) -> tuple[Bracket, ...]:
    """Brackets from (floor, maintenance rate, maximum leverage) in rising order, with `top` as the last cap.

    `cum` makes maintenance continuous where brackets meet: it grows at each floor by floor times the step in rate.
    """
    brackets: list[Bracket] = []
    cum = ZERO
    caps = [*[row[0] for row in rows[1:]], top]
    for level, ((floor_text, rate_text, leverage), cap) in enumerate(zip(rows, caps, strict=True), start=1):
        floor, rate = Decimal(floor_text), Decimal(rate_text)
        if brackets:
            cum += floor * (rate - brackets[-1].rate)
        brackets.append(Bracket(level, floor, Decimal(cap), rate, cum, leverage))
    return tuple(brackets)


# The venue's BTCUSDT table as of September 2026.
BTC_BRACKETS = bracket_table(
    [
        ("0", "0.004", 150),
        ("300000", "0.005", 100),
        ("800000", "0.0065", 75),
        ("3000000", "0.01", 50),
        ("12000000", "0.02", 25),
        ("70000000", "0.025", 20),
        ("100000000", "0.05", 10),
        ("230000000", "0.1", 5),
        ("480000000", "0.125", 4),
        ("600000000", "0.15", 3),
        ("800000000", "0.25", 2),
        ("1200000000", "0.5", 1),
    ],
    top="1800000000",
)
# The tables below are made up in the shape of the venue's: steeper and shorter as the market gets thinner.
ETH_BRACKETS = bracket_table(
    [
        ("0", "0.004", 150),
        ("300000", "0.005", 100),
        ("800000", "0.0065", 75),
        ("2500000", "0.01", 50),
        ("8000000", "0.02", 25),
        ("40000000", "0.025", 20),
        ("80000000", "0.05", 10),
        ("160000000", "0.1", 5),
        ("320000000", "0.15", 3),
        ("500000000", "0.25", 2),
        ("750000000", "0.5", 1),
    ],
    top="1200000000",
)
SOL_BRACKETS = bracket_table(
    [
        ("0", "0.005", 100),
        ("50000", "0.0065", 75),
        ("150000", "0.01", 50),
        ("500000", "0.02", 25),
        ("1500000", "0.025", 20),
        ("4000000", "0.05", 10),
        ("10000000", "0.1", 5),
        ("25000000", "0.125", 4),
        ("50000000", "0.15", 3),
        ("80000000", "0.25", 2),
        ("100000000", "0.5", 1),
    ],
    top="150000000",
)
THIN_BRACKETS = bracket_table(
    [
        ("0", "0.01", 50),
        ("20000", "0.015", 40),
        ("80000", "0.025", 20),
        ("400000", "0.05", 10),
        ("1000000", "0.1", 5),
        ("2500000", "0.125", 4),
        ("5000000", "0.25", 2),
        ("8000000", "0.5", 1),
    ],
    top="12000000",
)


def _linear(symbol: str, base: str, margin: str, tick: str, step: str, brackets: tuple[Bracket, ...]) -> Contract:
    return Contract(symbol, base, margin, margin, Decimal(tick), Decimal(step), brackets)


# Made up in the shape of the venue's: bounds in the coin.
COIN_BRACKETS = bracket_table(
    [
        ("0", "0.004", 125),
        ("5", "0.005", 100),
        ("10", "0.01", 50),
        ("20", "0.025", 20),
        ("50", "0.05", 10),
        ("100", "0.1", 5),
        ("200", "0.125", 4),
        ("400", "0.15", 3),
        ("1000", "0.25", 2),
    ],
    top="1500",
)


def _coin_margined(base: str, tick: str, size: str) -> Contract:
    """A COIN-M perpetual; its mark follows the USDT contract."""
    return Contract(
        f"{base}USD_PERP",
        base,
        "USD",
        base,
        Decimal(tick),
        Decimal(1),
        COIN_BRACKETS,
        universe=COIN_M,
        size=Decimal(size),
        follows=f"{base}USDT",
    )


DEFAULT_CONTRACTS: tuple[Contract, ...] = (
    _linear("BTCUSDT", "BTC", "USDT", "0.10", "0.001", BTC_BRACKETS),
    _linear("ETHUSDT", "ETH", "USDT", "0.01", "0.001", ETH_BRACKETS),
    _linear("SOLUSDT", "SOL", "USDT", "0.0100", "0.01", SOL_BRACKETS),
    _linear("BTCUSDC", "BTC", "USDC", "0.1", "0.001", BTC_BRACKETS),
    _linear("ETHUSDC", "ETH", "USDC", "0.01", "0.001", ETH_BRACKETS),
    Contract(
        "TSLAUSDT",
        "TSLA",
        "USDT",
        "USDT",
        Decimal("0.01"),
        Decimal("0.01"),
        THIN_BRACKETS,
        contract_type=ContractType.TRADIFI,
    ),
    Contract(
        "BTCUSDT_270326",
        "BTC",
        "USDT",
        "USDT",
        Decimal("0.1"),
        Decimal("0.001"),
        BTC_BRACKETS,
        contract_type=ContractType.QUARTER,
    ),
    _coin_margined("BTC", "0.1", "100"),
    _coin_margined("ETH", "0.01", "10"),
)

DEFAULT_MARKS: Mapping[str, Decimal] = {
    "BTCUSDT": Decimal("76888.1"),
    "ETHUSDT": Decimal("3215.4"),
    "SOLUSDT": Decimal("208.5"),
    "BTCUSDC": Decimal("76880.3"),
    "ETHUSDC": Decimal("3215.1"),
    "TSLAUSDT": Decimal("412.75"),
    "BTCUSDT_270326": Decimal("77912.4"),
    "BTCUSD_PERP": Decimal("76850.2"),
    "ETHUSD_PERP": Decimal("3213.9"),
}

DEFAULT_ASSETS: tuple[Asset, ...] = (
    Asset("USDT", Decimal("1.0"), Decimal("0.0001"), Decimal("0.0001"), Decimal("0.0001"), Decimal(-5000)),
    Asset("USDC", Decimal("0.9998"), Decimal("0.0001"), Decimal("0.0001"), Decimal("0.0001"), Decimal(-5000)),
    Asset("BTC", Decimal("76900"), Decimal("0.05"), Decimal("0.05"), Decimal("0.025"), Decimal("-0.1"), "BTCUSDT"),
    Asset("BNB", Decimal("905.5"), Decimal("0.05"), Decimal("0.05"), Decimal("0.025"), Decimal(-10)),
)


def thin_contract(symbol: str) -> Contract:
    """A USDT contract for a symbol outside the catalogue (a CSV may name any), with the brackets of a thin market."""
    for margin in ("USDT", "USDC"):
        if symbol.endswith(margin) and len(symbol) > len(margin):
            return _linear(symbol, symbol.removesuffix(margin), margin, "0.0001", "0.001", THIN_BRACKETS)
    raise ValueError(f"{symbol!r} is not a USDT or USDC contract")
