"""Portfolio margin: one pool of everything, its equity and requirement as Binance reports them.

What `connectors.binance_common` knows of positions and events holds here too; the collateral does not: coins, loans and
collateral rates make an equity that only Binance computes. It stands in one wallet of USD: the reported equity less the
positions' unrealized PnL, so that the balance moves with the marks between two polls.

Of the two equities that Binance reports, ``accountEquity`` and the adjusted one behind uniMMR, from which open losses
are taken, the smaller counts: liquidation goes by uniMMR.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from typing import Any

from connectors.binance import answers as usd_m
from connectors.binance.config import PORTFOLIO_URL, REST_URL, STREAM_URL
from connectors.binance_common.answers import (
    AccountAnswer,
    AssetIndex,
    AssetRow,
    HoldingRow,
    Modes,
    RiskRow,
    price_or_none,
    tick_size,
    updated,
    usual_funding_interval_s,
)
from connectors.binance_common.market import INDIVIDUAL_STREAMS_MAX
from connectors.binance_common.parse import AccountUpdate, RiskLevel, risk_level, slot
from connectors.binance_common.product import Listing, fee_request, fee_symbol
from connectors.binance_common.settings import AccountSettings
from connectors.binance_common.state import Answers
from connectors.session import Request, Security
from connectors.wire import BadFrame, document, mapping, not_negative, number, positive, rows, text, usable
from monitor.model.account import AccountMode, PositionMode
from monitor.model.ids import Slot
from monitor.model.instrument import ContractKind, Instrument

COIN_REST_URL = "https://dapi.binance.com"

LIQUIDATION_UNI_MMR = 1.05
"""Binance liquidates when uniMMR falls below it (FAQ ff4b1ab6c27b4ed6b3ebe8e4ed1572f8): the requirement is held as so
many times what is reported, so that a margin ratio of 1 is the liquidation. `monitor.margin.venues.binance` undoes it
for the figure that the venue shows."""

_DOLLAR = "USD"
_LAST_DIGIT = 1e-8
"""To which Binance prints amounts and quotients."""

_STATE = {
    "account": ("/papi/v1/account", 20),
    "risk": ("/papi/v1/um/positionRisk", 5),
    "coin_risk": ("/papi/v1/cm/positionRisk", 1),
    "indexes": ("/fapi/v1/assetIndex", 10),
}
_DEFINITIONS = {
    "exchange": ("/fapi/v1/exchangeInfo", 1),
    "coin_exchange": ("/dapi/v1/exchangeInfo", 1),
}
_FUNDING = {
    "funding": ("/fapi/v1/fundingInfo", 1),
    "coin_funding": ("/dapi/v1/fundingInfo", 1),
}
_HOSTS = {"/fapi": REST_URL, "/dapi": COIN_REST_URL}


class Portfolio:
    """See `connectors.binance_common.product.Product`."""

    venue = "binance"
    feed = "binance/portfolio"
    stream_url = STREAM_URL
    time_path = "/fapi/v1/time"
    listen_path = "/papi/v1/listenKey"
    private_paths = ("/pm/ws/{key}",)
    market_paths = ("/market/ws",)
    single_streams_max = INDIVIDUAL_STREAMS_MAX
    foreign = 0  # both kinds are its own
    definitions = frozenset(_DEFINITIONS)
    funding = frozenset(_FUNDING)
    state = frozenset(_STATE)
    multi_asset = frozenset[str]()

    def public_url(self, rest_url: str) -> str:
        """USD-M's host tells the time; the one of portfolio margin does not."""
        return _base(rest_url, self.time_path)

    def request(self, settings: AccountSettings, kind: str) -> Request:
        """The question of this kind."""
        if (symbol := fee_symbol(kind)) is not None:
            product = "cm" if "USD_" in symbol else "um"
            return fee_request(kind, settings.rest_url, f"/papi/v1/{product}/commissionRate")
        path, weight = (_STATE | _DEFINITIONS | _FUNDING)[kind]
        security = Security.SIGNED if path.startswith("/papi") else Security.NONE
        return Request(kind, "GET", _base(settings.rest_url, path), path, security, weight=weight)

    def another(self, kind: str, body: bytes) -> str | None:
        """No answer raises a question."""
        return None

    def answers(self, bodies: Mapping[str, bytes], sent_ms: int, instruments: Mapping[str, Instrument]) -> Answers:
        """All answers together."""
        listed = [mapping(row) for kind in ("risk", "coin_risk") for row in rows(document(bodies[kind]))]
        held = [row for row in listed if number(row.get("positionAmt")) != 0.0]
        hedge = any(slot(row.get("positionSide")) is not Slot.BOTH for row in listed)
        risk = tuple(_risk(row, instruments) for row in held)
        indexes = usd_m.asset_indexes(bodies["indexes"]) | {f"{_DOLLAR}USD": AssetIndex(1.0, 0.0, 0.0)}
        coins = {row.margin_coin for row in risk if row.margin_coin is not None}
        # A coin of unknown price makes the pool unknown, not smaller.
        indexes |= {f"{coin}USD": AssetIndex(nan, 0.0, 0.0) for coin in coins if f"{coin}USD" not in indexes}
        holdings = tuple(_holding(row, told) for row, told in zip(held, risk, strict=True))
        told = _told(bodies["account"])
        account = _account(told, holdings, risk, coins, indexes)
        mode = Modes(AccountMode.PORTFOLIO, PositionMode.HEDGE if hedge else PositionMode.ONE_WAY)
        uni_mmr = None if isnan(told.uni_mmr) else told.uni_mmr
        return Answers(sent_ms, mode, {}, account, risk, indexes, uni_mmr, told.level(sent_ms))

    def listing(self, kind: str, body: bytes) -> Listing:
        """Linear or inverse contracts, without tiers: what they require is reported."""
        if kind == "exchange":
            return Listing(usd_m.exchange(body).symbols)
        inverse = usable(rows(mapping(document(body)).get("symbols")), _inverse)
        return Listing({it.symbol: it for it in inverse if it is not None})

    def priced(self, update: AccountUpdate, instruments: Mapping[str, Instrument]) -> AccountUpdate:
        """Its balances are those of one part of the account, and its marks come from the stream."""
        positions = tuple(replace(row, mark_price=None) for row in update.positions)
        return replace(update, balances=(), positions=positions)


def _base(rest_url: str, path: str) -> str:
    """In production each kind of question has its host, elsewhere one answers all."""
    return _HOSTS.get(path[:5], rest_url) if rest_url == PORTFOLIO_URL else rest_url


def _risk(row: Mapping[str, Any], instruments: Mapping[str, Instrument]) -> RiskRow:
    """A position; there are no isolated ones."""
    symbol = text(row.get("symbol"))
    known = instruments.get(symbol)
    return RiskRow(
        symbol,
        slot(row.get("positionSide")),
        number(row.get("positionAmt")),
        price_or_none(row.get("entryPrice")) or nan,
        price_or_none(row.get("markPrice")),
        0.0,
        None if known is None else known.margin_coin,
        updated(row),
    )


def _holding(row: Mapping[str, Any], told: RiskRow) -> HoldingRow:
    pnl = number(row.get("unRealizedProfit"))
    return HoldingRow(told.symbol, told.slot, told.size, told.mark_price or nan, pnl, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class _Told:
    """``/papi/v1/account``: figures in USD, nan where they are not told."""

    status: str
    equity: float
    required: float
    uni_mmr: float

    @property
    def counted(self) -> float:
        """The equity of which uniMMR is the quotient, where that is less than the one beside it by more than rounding.

        uniMMR = adjusted equity / maintenance margin (FAQ 4868b2f1aa6c4d08af973328462bb0bd). Without a requirement it
        says nothing; where it is not told, nobody knows how near the liquidation is.
        """
        if self.required == 0.0:
            return self.equity
        adjusted = self.uni_mmr * self.required
        rounding = _LAST_DIGIT * (self.required + abs(self.uni_mmr))
        return self.equity if abs(adjusted - self.equity) <= rounding else _smaller(self.equity, adjusted)

    def level(self, at_ms: int) -> RiskLevel | None:
        """None where it is not told."""
        return risk_level(at_ms, self.status, self.uni_mmr, self.equity, self.required) if self.status else None


def _told(body: bytes) -> _Told:
    answer = mapping(document(body))
    status = answer.get("accountStatus")
    return _Told(
        status if isinstance(status, str) else "",
        _figure(number, answer.get("accountEquity")),
        _figure(not_negative, answer.get("accountMaintMargin")),
        _figure(number, answer.get("uniMMR")),
    )


def _figure(read: Callable[[object], float], value: object) -> float:
    """A figure, nan where it cannot be used: the account's positions are known all the same."""
    try:
        return read(value)
    except BadFrame:
        return nan


def _smaller(one: float, other: float) -> float:
    """nan where one of them is."""
    return one + other if isnan(one + other) else min(one, other)


def _account(
    told: _Told,
    holdings: Sequence[HoldingRow],
    risk: Sequence[RiskRow],
    coins: set[str],
    indexes: Mapping[str, AssetIndex],
) -> AccountAnswer:
    """Equity and requirement in USD."""
    pnl = sum(
        holding.unrealized_pnl * indexes[f"{row.margin_coin}USD"].index
        for holding, row in zip(holdings, risk, strict=True)
        if row.margin_coin is not None
    )
    assets = (AssetRow(_DOLLAR, told.counted - pnl, 0.0, 0), *(AssetRow(coin, 0.0, 0.0, 0) for coin in sorted(coins)))
    return AccountAnswer(assets, tuple(holdings), told.counted, told.required * LIQUIDATION_UNI_MMR)


def _inverse(row: Mapping[str, Any]) -> Instrument | None:
    """A contract of COIN-M; None for others."""
    coin = text(row.get("marginAsset"))
    if coin != row.get("baseAsset"):
        return None
    return Instrument(
        text(row.get("symbol")),
        ContractKind.INVERSE,
        coin,
        positive(row.get("contractSize")),
        (),
        tick_size(row),
        funding_interval_s=usual_funding_interval_s(row),
    )


PORTFOLIO = Portfolio()
