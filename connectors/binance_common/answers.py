"""Answers of Binance's REST endpoints as values. Raises `BadFrame` like `parse`.

What all of Binance's futures have in common: values, and the endpoints that are the same everywhere. Each venue parses
the rest. `apiRestrictions` belongs to Binance's wallet API.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from typing import Any

from connectors.wire import BadFrame, Defect, document, mapping, not_negative, number, positive, rows, text, usable
from monitor.model.account import AccountMode, MarginMode, PositionMode
from monitor.model.ids import Slot
from monitor.model.instrument import Tier

HOUR_S = 3600.0


def price_or_none(value: object) -> float | None:
    """A price, None where it cannot be used."""
    try:
        return positive(value)
    except BadFrame:
        return None


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a key may do: whether it reads, and the names of the flags that let it do more."""

    reads: bool
    dangerous: tuple[str, ...]


_HARMLESS = frozenset({"enableReading", "enableFixReadOnly"})


def permissions(body: bytes) -> Permissions:
    """``apiRestrictions``. A permission that is granted and not known to be harmless counts as dangerous."""
    flags = mapping(document(body))
    if not isinstance(flags.get("enableReading"), bool):
        raise BadFrame(Defect.SHAPE, "no enableReading in the key's permissions")
    granted = (name for name, value in flags.items() if value is True and name.startswith(("enable", "permits")))
    return Permissions(flags["enableReading"], tuple(sorted(name for name in granted if name not in _HARMLESS)))


def listen_key(body: bytes) -> str:
    """The key of the private stream."""
    return text(mapping(document(body)).get("listenKey"))


@dataclass(frozen=True, slots=True)
class Modes:
    """How the account shares collateral and how it holds positions."""

    account_mode: AccountMode
    position_mode: PositionMode


@dataclass(frozen=True, slots=True)
class SymbolConfig:
    """What the user chose for one symbol."""

    margin_mode: MarginMode
    leverage: float | None


@dataclass(frozen=True, slots=True)
class AssetRow:
    """One coin of the account; amounts in the coin."""

    coin: str
    cross_wallet: float
    cross_pnl: float
    updated_ms: int


@dataclass(frozen=True, slots=True)
class HoldingRow:
    """One position of the account: what the venue makes of it at the mark that it used."""

    symbol: str
    slot: Slot
    size: float
    mark_price: float
    unrealized_pnl: float
    maintenance_margin: float
    isolated_wallet: float


@dataclass(frozen=True, slots=True)
class AccountAnswer:
    """The account. The totals are in USDT in single-asset mode and in USD in multi-assets mode."""

    assets: tuple[AssetRow, ...]
    holdings: tuple[HoldingRow, ...]
    total_margin_balance: float
    total_maintenance_margin: float


def asset(row: Mapping[str, Any]) -> AssetRow:
    """One of the account's ``assets``."""
    return AssetRow(
        text(row.get("asset")),
        number(row.get("crossWalletBalance")),
        number(row.get("crossUnPnl")),
        updated(row),
    )


def updated(row: Mapping[str, Any]) -> int:
    """``updateTime``, where 0 means that it is not known."""
    value = row.get("updateTime", 0)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


@dataclass(frozen=True, slots=True)
class RiskRow:
    """One position of ``positionRisk``. `size` is signed.

    `mark_price` is None and `entry_price` nan where the venue's figure cannot be used: that figure is unknown then, and
    the rest of the account is not.
    """

    symbol: str
    slot: Slot
    size: float
    entry_price: float
    mark_price: float | None
    isolated_wallet: float
    margin_coin: str | None
    updated_ms: int

    @property
    def is_whole(self) -> bool:
        """Whether every figure is there."""
        return self.mark_price is not None and not isnan(self.entry_price)


@dataclass(frozen=True, slots=True)
class AssetIndex:
    """What one coin counts for in multi-assets mode: index * (1 - bid buffer) owned, index * (1 + ask buffer) owed."""

    index: float
    bid_buffer: float
    ask_buffer: float

    def haircut(self, balance: float) -> float:
        """Share of the index value that does not count; below zero for debts, which count for more."""
        return self.bid_buffer if balance >= 0.0 else -self.ask_buffer


def funding_intervals(body: bytes) -> dict[str, float]:
    """``fundingInfo``: seconds between two payments, of the symbols where that is not, or was not always, the usual."""
    return dict(
        usable(
            rows(document(body)),
            lambda row: (text(row.get("symbol")), positive(row.get("fundingIntervalHours")) * HOUR_S),
        )
    )


def usual_funding_interval_s(row: Mapping[str, Any]) -> float | None:
    """Of a symbol of ``exchangeInfo`` that ``fundingInfo`` does not name; None for contracts that expire."""
    return 8.0 * HOUR_S if str(row.get("contractType")).endswith("PERPETUAL") else None


def taker_fee_rate(body: bytes) -> float:
    """``commissionRate``: what the account pays for taking in one symbol."""
    return number(mapping(document(body)).get("takerCommissionRate"))


def tick_size(row: Mapping[str, Any]) -> float | None:
    """The price step of a symbol of ``exchangeInfo``, None where it tells none."""
    filters = row.get("filters")
    for entry in filters if isinstance(filters, list) else ():
        if isinstance(entry, dict) and entry.get("filterType") == "PRICE_FILTER":
            return not_negative(entry.get("tickSize")) or None
    return None


def tiers(listed: list[Any], floor: str = "notionalFloor", cap: str = "notionalCap") -> tuple[Tier, ...]:
    """Brackets in ascending order; `floor` and `cap` are the names of their bounds.

    The last has no end: a notional past the venue's limit keeps the last rate.
    """
    found = sorted(
        (
            Tier(
                not_negative(mapping(row).get(floor)),
                positive(row.get(cap)),
                not_negative(row.get("maintMarginRatio")),
                number(row.get("cum")),
            )
            for row in listed
        ),
        key=lambda tier: tier.floor,
    )
    if not found:
        return ()
    last = found[-1]
    return (*found[:-1], Tier(last.floor, None, last.rate, last.deduction))
