"""Answers of the USD-M REST endpoints as values. Raises `BadFrame` like `connectors.binance_common.parse`.

Endpoints and keys: Binance's documentation of USD-M futures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any

from connectors.binance_common.answers import (
    AccountAnswer,
    AssetIndex,
    HoldingRow,
    Modes,
    RiskRow,
    SymbolConfig,
    asset,
    price_or_none,
    tick_size,
    tiers,
    updated,
    usual_funding_interval_s,
)
from connectors.binance_common.parse import margin_mode, slot
from connectors.wire import BadFrame, Defect, document, mapping, not_negative, number, positive, rows, text, usable
from monitor.model.account import AccountMode, PositionMode
from monitor.model.instrument import ContractKind, Instrument, Tier


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


def symbol_configs(body: bytes) -> dict[str, SymbolConfig]:
    """``symbolConfig``: the only place that tells margin type and leverage of version 3 positions."""
    return dict(usable(rows(document(body)), _symbol_config))


def _symbol_config(row: Mapping[str, Any]) -> tuple[str, SymbolConfig]:
    return text(row.get("symbol")), SymbolConfig(margin_mode(row.get("marginType")), positive(row.get("leverage")))


def account(body: bytes) -> AccountAnswer:
    """``v3/account``; holdings of zero size are left out."""
    answer = mapping(document(body))
    holdings = (mapping(row) for row in rows(answer.get("positions")))
    return AccountAnswer(
        tuple(asset(mapping(row)) for row in rows(answer.get("assets"))),
        tuple(_holding(row) for row in holdings if number(row.get("positionAmt")) != 0.0),
        number(answer.get("totalMarginBalance")),
        number(answer.get("totalMaintMargin")),
    )


def _holding(row: Mapping[str, Any]) -> HoldingRow:
    """The mark behind the answer is notional / size, which is exact to the digits that the venue prints."""
    size = number(row.get("positionAmt"))
    return HoldingRow(
        text(row.get("symbol")),
        slot(row.get("positionSide")),
        size,
        abs(number(row.get("notional")) / size),
        number(row.get("unrealizedProfit")),
        number(row.get("maintMargin")),
        number(row.get("isolatedWallet", "0")),
    )


def position_risk(body: bytes) -> tuple[RiskRow, ...]:
    """``v3/positionRisk``; rows of zero size (symbols with orders only) are left out."""
    listed = (mapping(row) for row in rows(document(body)))
    return tuple(_risk(row) for row in listed if number(row.get("positionAmt")) != 0.0)


def _risk(row: Mapping[str, Any]) -> RiskRow:
    coin = row.get("marginAsset")
    size = number(row.get("positionAmt"))
    mark_price = price_or_none(row.get("markPrice"))
    entry_price = price_or_none(row.get("entryPrice"))
    return RiskRow(
        text(row.get("symbol")),
        slot(row.get("positionSide")),
        size,
        _implied_entry(size, mark_price, row.get("unRealizedProfit")) if entry_price is None else entry_price,
        mark_price,
        number(row.get("isolatedWallet", "0")),
        coin if isinstance(coin, str) and coin else None,
        updated(row),
    )


def _implied_entry(size: float, mark_price: float | None, unrealized_pnl: object) -> float:
    """The entry behind an unrealized PnL: PnL = size * (mark - entry). nan when it does not follow."""
    try:
        entry_price = nan if mark_price is None else mark_price - number(unrealized_pnl) / size
    except BadFrame:
        return nan
    return entry_price if isfinite(entry_price) and entry_price > 0.0 else nan


def asset_indexes(body: bytes) -> dict[str, AssetIndex]:
    """``assetIndex`` by the venue's name for it, such as ``BTCUSD``."""
    return dict(usable(rows(document(body)), _asset_index))


def _asset_index(row: Mapping[str, Any]) -> tuple[str, AssetIndex]:
    return text(row.get("symbol")), AssetIndex(
        positive(row.get("index")), not_negative(row.get("bidBuffer")), not_negative(row.get("askBuffer"))
    )


@dataclass(frozen=True, slots=True)
class Exchange:
    """``exchangeInfo``: every linear contract without its tiers, and the coins that count as margin at all."""

    symbols: dict[str, Instrument]
    margin_coins: frozenset[str]


def exchange(body: bytes) -> Exchange:
    """``exchangeInfo``. Contracts that pay in their own base coin are COIN-M and left out."""
    answer = mapping(document(body))
    linear = (
        row for row in usable(rows(answer.get("symbols")), mapping) if row.get("marginAsset") != row.get("baseAsset")
    )
    coins = (row for row in usable(rows(answer.get("assets", [])), mapping) if row.get("marginAvailable") is True)
    return Exchange(
        dict(usable(linear, _listed)),
        frozenset(usable(coins, lambda row: text(row.get("asset")))),
    )


def _listed(row: Mapping[str, Any]) -> tuple[str, Instrument]:
    symbol, coin = text(row.get("symbol")), text(row.get("marginAsset"))
    return symbol, Instrument(
        symbol,
        ContractKind.LINEAR,
        coin,
        1.0,
        (),
        tick_size(row),
        funding_interval_s=usual_funding_interval_s(row),
    )


def brackets(body: bytes) -> dict[str, tuple[Tier, ...]]:
    """``leverageBracket``: the account's own maintenance tiers by symbol (one object when a symbol was asked for)."""
    answer = document(body)
    listed = answer if isinstance(answer, list) else [mapping(answer)]
    return dict(usable(listed, lambda row: (text(row.get("symbol")), tiers(rows(row.get("brackets"))))))
