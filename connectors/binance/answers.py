"""Answers of Binance's REST endpoints as values. Raises `BadFrame` like `parse`.

Endpoints and keys: Binance's documentation of USD-M futures; `apiRestrictions` belongs to its wallet API.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite, isnan, nan
from typing import Any, TypeVar

import orjson

from connectors.binance.parse import (
    BadFrame,
    Defect,
    mapping,
    margin_mode,
    not_negative,
    number,
    positive,
    rows,
    slot,
    text,
)
from monitor.model.account import AccountMode, MarginMode, PositionMode
from monitor.model.ids import Slot
from monitor.model.instrument import ContractKind, Instrument, Tier

T = TypeVar("T")


def document(body: bytes) -> object:
    """The JSON of a body."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadFrame(Defect.JSON, "the answer is not JSON") from None


def _usable(listed: Iterable[Any], parse: Callable[[Mapping[str, Any]], T]) -> Iterator[T]:
    """Rows of a table about all symbols. One that cannot be used is left out: it is unknown, the others are not."""
    for row in listed:
        try:
            yield parse(mapping(row))
        except BadFrame:
            continue


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
    """``accountConfig``."""

    account_mode: AccountMode
    position_mode: PositionMode


def modes(body: bytes) -> Modes:
    """``accountConfig``."""
    answer = mapping(document(body))
    hedge, multi = answer.get("dualSidePosition"), answer.get("multiAssetsMargin")
    if not isinstance(hedge, bool) or not isinstance(multi, bool):
        raise BadFrame(Defect.SHAPE, "no dualSidePosition or multiAssetsMargin")
    return Modes(
        AccountMode.MULTI_ASSET if multi else AccountMode.SINGLE_ASSET,
        PositionMode.HEDGE if hedge else PositionMode.ONE_WAY,
    )


@dataclass(frozen=True, slots=True)
class SymbolConfig:
    """What the user chose for one symbol."""

    margin_mode: MarginMode
    leverage: float | None


def symbol_configs(body: bytes) -> dict[str, SymbolConfig]:
    """``symbolConfig``: the only place that tells margin type and leverage of version 3 positions."""
    return dict(_usable(rows(document(body)), _symbol_config))


def _symbol_config(row: Mapping[str, Any]) -> tuple[str, SymbolConfig]:
    return text(row.get("symbol")), SymbolConfig(margin_mode(row.get("marginType")), positive(row.get("leverage")))


@dataclass(frozen=True, slots=True)
class AssetRow:
    """One coin of ``v3/account``; amounts in the coin."""

    coin: str
    cross_wallet: float
    cross_pnl: float
    updated_ms: int


@dataclass(frozen=True, slots=True)
class HoldingRow:
    """One position of ``v3/account``: what the venue makes of it."""

    symbol: str
    slot: Slot
    size: float
    notional: float
    unrealized_pnl: float
    maintenance_margin: float
    isolated_wallet: float


@dataclass(frozen=True, slots=True)
class AccountAnswer:
    """``v3/account``. The totals are in USDT in single-asset mode and in USD in multi-assets mode."""

    assets: tuple[AssetRow, ...]
    holdings: tuple[HoldingRow, ...]
    total_margin_balance: float
    total_maintenance_margin: float


def account(body: bytes) -> AccountAnswer:
    """``v3/account``; holdings of zero size are left out."""
    answer = mapping(document(body))
    holdings = (mapping(row) for row in rows(answer.get("positions")))
    return AccountAnswer(
        tuple(_asset(mapping(row)) for row in rows(answer.get("assets"))),
        tuple(_holding(row) for row in holdings if number(row.get("positionAmt")) != 0.0),
        number(answer.get("totalMarginBalance")),
        number(answer.get("totalMaintMargin")),
    )


def _asset(row: Mapping[str, Any]) -> AssetRow:
    return AssetRow(
        text(row.get("asset")),
        number(row.get("crossWalletBalance")),
        number(row.get("crossUnPnl")),
        _updated(row),
    )


def _holding(row: Mapping[str, Any]) -> HoldingRow:
    return HoldingRow(
        text(row.get("symbol")),
        slot(row.get("positionSide")),
        number(row.get("positionAmt")),
        number(row.get("notional")),
        number(row.get("unrealizedProfit")),
        number(row.get("maintMargin")),
        number(row.get("isolatedWallet", "0")),
    )


def _updated(row: Mapping[str, Any]) -> int:
    """``updateTime``, where 0 means that it is not known."""
    value = row.get("updateTime", 0)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


@dataclass(frozen=True, slots=True)
class RiskRow:
    """One position of ``v3/positionRisk``. `size` is signed.

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


def position_risk(body: bytes) -> tuple[RiskRow, ...]:
    """``v3/positionRisk``; rows of zero size (symbols with orders only) are left out."""
    listed = (mapping(row) for row in rows(document(body)))
    return tuple(_risk(row) for row in listed if number(row.get("positionAmt")) != 0.0)


def _risk(row: Mapping[str, Any]) -> RiskRow:
    coin = row.get("marginAsset")
    size = number(row.get("positionAmt"))
    mark_price = _price(row.get("markPrice"))
    entry_price = _price(row.get("entryPrice"))
    return RiskRow(
        text(row.get("symbol")),
        slot(row.get("positionSide")),
        size,
        _implied_entry(size, mark_price, row.get("unRealizedProfit")) if entry_price is None else entry_price,
        mark_price,
        number(row.get("isolatedWallet", "0")),
        coin if isinstance(coin, str) and coin else None,
        _updated(row),
    )


def _price(value: object) -> float | None:
    try:
        return positive(value)
    except BadFrame:
        return None


def _implied_entry(size: float, mark_price: float | None, unrealized_pnl: object) -> float:
    """The entry behind an unrealized PnL: PnL = size * (mark - entry). nan when it does not follow."""
    try:
        entry_price = nan if mark_price is None else mark_price - number(unrealized_pnl) / size
    except BadFrame:
        return nan
    return entry_price if isfinite(entry_price) and entry_price > 0.0 else nan


@dataclass(frozen=True, slots=True)
class AssetIndex:
    """What one coin counts for in multi-assets mode: index * (1 - bid buffer) owned, index * (1 + ask buffer) owed."""

    index: float
    bid_buffer: float
    ask_buffer: float

    def haircut(self, balance: float) -> float:
        """Share of the index value that does not count; below zero for debts, which count for more."""
        return self.bid_buffer if balance >= 0.0 else -self.ask_buffer


def asset_indexes(body: bytes) -> dict[str, AssetIndex]:
    """``assetIndex`` by the venue's name for it, such as ``BTCUSD``."""
    return dict(_usable(rows(document(body)), _asset_index))


def _asset_index(row: Mapping[str, Any]) -> tuple[str, AssetIndex]:
    return text(row.get("symbol")), AssetIndex(
        positive(row.get("index")), not_negative(row.get("bidBuffer")), not_negative(row.get("askBuffer"))
    )


@dataclass(frozen=True, slots=True)
class Exchange:
    """``exchangeInfo``: margin coin and tick size of every symbol, and the coins that count as margin at all."""

    symbols: dict[str, tuple[str, float | None]]
    margin_coins: frozenset[str]


def exchange(body: bytes) -> Exchange:
    """``exchangeInfo``. Contracts that pay in their own base coin are COIN-M and left out."""
    answer = mapping(document(body))
    linear = (
        row for row in _usable(rows(answer.get("symbols")), mapping) if row.get("marginAsset") != row.get("baseAsset")
    )
    coins = (row for row in _usable(rows(answer.get("assets", [])), mapping) if row.get("marginAvailable") is True)
    return Exchange(
        dict(_usable(linear, _listed)),
        frozenset(_usable(coins, lambda row: text(row.get("asset")))),
    )


def _listed(row: Mapping[str, Any]) -> tuple[str, tuple[str, float | None]]:
    return text(row.get("symbol")), (text(row.get("marginAsset")), _tick_size(row))


def _tick_size(row: Mapping[str, Any]) -> float | None:
    for entry in row.get("filters") or ():
        if isinstance(entry, dict) and entry.get("filterType") == "PRICE_FILTER":
            return not_negative(entry.get("tickSize")) or None
    return None


def brackets(body: bytes) -> dict[str, tuple[Tier, ...]]:
    """``leverageBracket``: the account's own maintenance tiers by symbol (one object when a symbol was asked for)."""
    answer = document(body)
    listed = answer if isinstance(answer, list) else [mapping(answer)]
    return dict(_usable(listed, lambda row: (text(row.get("symbol")), tiers(rows(row.get("brackets"))))))


def tiers(listed: list[Any]) -> tuple[Tier, ...]:
    """Brackets in ascending order. The last has no end: a notional past the venue's limit keeps the last rate."""
    found = sorted(
        (
            Tier(
                not_negative(mapping(row).get("notionalFloor")),
                positive(row.get("notionalCap")),
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


def instruments(listing: Exchange, tables: Mapping[str, tuple[Tier, ...]]) -> dict[str, Instrument]:
    """Every linear contract with the account's tiers; empty tiers where the venue gave none."""
    return {
        symbol: Instrument(symbol, ContractKind.LINEAR, coin, 1.0, tables.get(symbol, ()), tick_size)
        for symbol, (coin, tick_size) in listing.symbols.items()
    }
