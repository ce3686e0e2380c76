"""Bodies of the venue's REST answers about COIN-M: like USD-M's, with sizes in contracts and amounts in coins."""

from collections.abc import Iterator

from connectors.simulator import answers
from connectors.simulator.account import Account, Holding, Market, PositionSide
from connectors.simulator.answers import Body
from connectors.simulator.contracts import COIN_M, Bracket, Contract
from connectors.simulator.wire import ZERO, amount, amount_or_zero, number, plain


def exchange_info(market: Market, now_ms: int, weight_limit: int) -> Body:
    """``/dapi/v1/exchangeInfo``."""
    limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weight_limit}]
    return {
        "timezone": "UTC",
        "serverTime": now_ms,
        "rateLimits": limits,
        "exchangeFilters": [],
        "symbols": [_symbol(contract) for contract in market.listed(COIN_M)],
    }


def _symbol(contract: Contract) -> Body:
    body = answers.symbol(contract)
    body["contractStatus"] = body.pop("status")
    return body | {"contractSize": number(contract.size), "equalQtyPrecision": 4}


def leverage_bracket(contract: Contract) -> Body:
    """One symbol of ``/dapi/v2/leverageBracket``; the floor is spelt as the venue's own client spells it."""
    return {"symbol": contract.symbol, "brackets": [_bracket(row) for row in contract.brackets]}


def _bracket(row: Bracket) -> Body:
    return {
        "bracket": row.level,
        "initialLeverage": row.max_leverage,
        "qtyCap": number(row.cap),
        "qtylFloor": number(row.floor),
        "maintMarginRatio": float(row.rate),
        "cum": float(row.cum),
    }


def _rows(account: Account, market: Market) -> Iterator[Holding]:
    """Every symbol, flat or not; in hedge mode three rows each."""
    for contract in market.tradable(COIN_M):
        if account.hedge:
            yield Holding(contract.symbol, PositionSide.BOTH)
        for side in account.sides():
            yield account.holding(contract.symbol, side)


def account(account: Account, market: Market) -> Body:
    """``/dapi/v1/account``; it tells neither marks nor isolated wallets."""
    coins = market.margin_assets(COIN_M)
    return {
        "feeTier": 0,
        "canTrade": True,
        "canDeposit": True,
        "canWithdraw": True,
        "updateTime": 0,
        "assets": [
            {"asset": coin}
            | {key: amount(value) for key, value in answers.asset_amounts(account, market, coin).items()}
            | {"updateTime": account.wallet_updated_ms.get(coin, 0)}
            for coin in coins
        ],
        "positions": [_account_row(account, market, holding) for holding in _rows(account, market)],
    }


def _account_row(account: Account, market: Market, holding: Holding) -> Body:
    setting, margin = account.setting(holding.symbol), answers.initial_margin(account, market, holding)
    return {
        "symbol": holding.symbol,
        "positionSide": holding.side.value,
        "positionAmt": plain(holding.amount),
        "initialMargin": amount_or_zero(margin),
        "maintMargin": amount_or_zero(market.maintenance(holding)),
        "unrealizedProfit": amount(market.pnl(holding)),
        "positionInitialMargin": amount_or_zero(margin),
        "openOrderInitialMargin": "0",
        "leverage": str(setting.leverage),
        "isolated": setting.isolated,
        "entryPrice": amount(holding.entry_price),
        "breakEvenPrice": amount(holding.entry_price),
        "maxQty": plain(market.contracts[holding.symbol].brackets[-1].cap),
        "updateTime": holding.updated_ms,
    }


def position_risk(account: Account, market: Market) -> list[Body]:
    """``/dapi/v1/positionRisk``."""
    return [_risk_row(account, market, holding) for holding in _rows(account, market)]


def _risk_row(account: Account, market: Market, holding: Holding) -> Body:
    setting = account.setting(holding.symbol)
    notional = market.notional(holding) * (1 if holding.amount >= ZERO else -1)
    return {
        "symbol": holding.symbol,
        "positionAmt": plain(holding.amount),
        "entryPrice": amount(holding.entry_price),
        "breakEvenPrice": amount(holding.entry_price),
        "markPrice": amount(market.marks[holding.symbol]),
        "unRealizedProfit": amount(market.pnl(holding)),
        "liquidationPrice": answers.liquidation_text(account, market, holding),
        "leverage": str(setting.leverage),
        "maxQty": plain(market.contracts[holding.symbol].brackets[-1].cap),
        "marginType": "isolated" if setting.isolated else "cross",
        "isolatedMargin": amount(answers.isolated_margin(market, holding)),
        "isAutoAddMargin": "false",
        "positionSide": holding.side.value,
        "notionalValue": amount_or_zero(notional),
        "isolatedWallet": amount_or_zero(holding.isolated_wallet),
        "updateTime": holding.updated_ms,
    }
