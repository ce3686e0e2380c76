"""Answers of the COIN-M REST endpoints as values. Raises `BadFrame` like `connectors.binance_common.parse`.

Endpoints and keys: Binance's documentation of COIN-M futures. Sizes are contracts, amounts and tiers are in the coin.
"""

from collections.abc import Iterable, Mapping
from math import isfinite, nan
from typing import Any

from connectors.binance_common.answers import (
    AccountAnswer,
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
from connectors.wire import document, mapping, number, positive, rows, text, usable
from monitor.model.account import AccountMode, PositionMode
from monitor.model.ids import Slot
from monitor.model.instrument import ContractKind, Instrument, Tier

Key = tuple[str, Slot]


def implied_mark(size: float, entry_price: float, unrealized_pnl: float, contract_size: float) -> float | None:
    """The mark behind an unrealized PnL: PnL = contracts * size * (1/entry - 1/mark). None when it does not follow."""
    if size == 0.0 or entry_price <= 0.0:
        return None
    value = 1.0 / entry_price - unrealized_pnl / (size * contract_size)
    mark_price = 1.0 / value if value > 0.0 else 0.0
    return mark_price if isfinite(mark_price) and mark_price > 0.0 else None


def modes(listed: Iterable[Mapping[str, Any]]) -> Modes:
    """From ``positionRisk``: an account in hedge mode has rows of LONG and SHORT beside BOTH, one-way has BOTH only."""
    hedge = any(slot(row.get("positionSide")) is not Slot.BOTH for row in listed)
    return Modes(AccountMode.SINGLE_ASSET, PositionMode.HEDGE if hedge else PositionMode.ONE_WAY)


def risk_rows(body: bytes) -> list[Mapping[str, Any]]:
    """``positionRisk``, which lists every symbol, flat or not."""
    return [mapping(row) for row in rows(document(body))]


def symbol_configs(listed: Iterable[Mapping[str, Any]]) -> dict[str, SymbolConfig]:
    """Margin type and leverage of every symbol, from ``positionRisk``."""
    return dict(usable(listed, _symbol_config))


def _symbol_config(row: Mapping[str, Any]) -> tuple[str, SymbolConfig]:
    return text(row.get("symbol")), SymbolConfig(margin_mode(row.get("marginType")), positive(row.get("leverage")))


def position_risk(listed: Iterable[Mapping[str, Any]], instruments: Mapping[str, Instrument]) -> tuple[RiskRow, ...]:
    """The open positions of ``positionRisk``, which does not tell their margin coin."""
    return tuple(_risk(row, instruments) for row in listed if number(row.get("positionAmt")) != 0.0)


def _risk(row: Mapping[str, Any], instruments: Mapping[str, Instrument]) -> RiskRow:
    symbol = text(row.get("symbol"))
    known = instruments.get(symbol)
    return RiskRow(
        symbol,
        slot(row.get("positionSide")),
        number(row.get("positionAmt")),
        price_or_none(row.get("entryPrice")) or nan,
        price_or_none(row.get("markPrice")),
        number(row.get("isolatedWallet", "0")),
        None if known is None else known.margin_coin,
        updated(row),
    )


def account(body: bytes, risk: Iterable[RiskRow], instruments: Mapping[str, Instrument]) -> AccountAnswer:
    """``account``, with the isolated wallets of ``positionRisk``, which do not move with the mark.

    There are no totals: every coin stands alone.
    """
    answer = mapping(document(body))
    held = {(row.symbol, row.slot): row for row in risk}
    holdings = (mapping(row) for row in rows(answer.get("positions")))
    return AccountAnswer(
        tuple(asset(mapping(row)) for row in rows(answer.get("assets"))),
        tuple(_holding(row, held, instruments) for row in holdings if number(row.get("positionAmt")) != 0.0),
        0.0,
        0.0,
    )


def _holding(row: Mapping[str, Any], held: Mapping[Key, RiskRow], instruments: Mapping[str, Instrument]) -> HoldingRow:
    """The answer does not tell its mark, but its unrealized PnL implies it."""
    symbol, side, size = text(row.get("symbol")), slot(row.get("positionSide")), number(row.get("positionAmt"))
    pnl, known, told = number(row.get("unrealizedProfit")), instruments.get(symbol), held.get((symbol, side))
    entry = price_or_none(row.get("entryPrice")) or 0.0
    mark = None if known is None else implied_mark(size, entry, pnl, known.multiplier)
    return HoldingRow(
        symbol,
        side,
        size,
        mark or (told and told.mark_price) or nan,
        pnl,
        number(row.get("maintMargin")),
        0.0 if told is None else told.isolated_wallet,
    )


def instruments(body: bytes) -> dict[str, Instrument]:
    """``exchangeInfo``: every contract that pays in its own base coin, without its tiers."""
    listed = usable(rows(mapping(document(body)).get("symbols")), mapping)
    inverse = (row for row in listed if row.get("marginAsset") == row.get("baseAsset"))
    return {made.symbol: made for made in usable(inverse, _instrument)}


def _instrument(row: Mapping[str, Any]) -> Instrument:
    return Instrument(
        text(row.get("symbol")),
        ContractKind.INVERSE,
        text(row.get("marginAsset")),
        positive(row.get("contractSize")),
        (),
        tick_size(row),
        funding_interval_s=usual_funding_interval_s(row),
    )


def brackets(body: bytes) -> dict[str, tuple[Tier, ...]]:
    """``v2/leverageBracket``: the account's own tiers by symbol, bounds in the coin. The floor has two spellings."""
    listed = rows(document(body))
    return dict(usable(listed, lambda row: (text(row.get("symbol")), _tiers(rows(row.get("brackets"))))))


def _tiers(listed: list[Any]) -> tuple[Tier, ...]:
    spelt = "qtyFloor" if listed and "qtyFloor" in mapping(listed[0]) else "qtylFloor"
    return tiers(listed, spelt, "qtyCap")
