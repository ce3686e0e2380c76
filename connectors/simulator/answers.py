"""Bodies of the venue's REST answers."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from connectors.simulator import engine
from connectors.simulator.account import Account, Holding, Market
from connectors.simulator.contracts import Asset, Bracket, Contract, ContractType
from connectors.simulator.events import next_funding_ms
from connectors.simulator.wire import ONE, ZERO, amount, amount_or_zero, number, plain

Body = dict[str, Any]


def exchange_info(market: Market, now_ms: int, weight_limit: int) -> Body:
    """``/fapi/v1/exchangeInfo``."""
    return {
        "timezone": "UTC",
        "serverTime": now_ms,
        "futuresType": "U_MARGINED",
        "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weight_limit},
            {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300},
        ],
        "exchangeFilters": [],
        "assets": [
            {"asset": asset.name, "marginAvailable": True, "autoAssetExchange": plain(asset.auto_exchange)}
            for asset in market.assets.values()
        ],
        "symbols": [symbol(contract) for contract in market.listed()],
    }


def symbol(contract: Contract) -> Body:
    """One of ``symbols`` of ``exchangeInfo``."""
    tick, step = plain(contract.tick_size), plain(contract.step_size)
    return {
        "symbol": contract.symbol,
        "pair": f"{contract.base}{contract.quote}",
        "contractType": contract.contract_type.value,
        "deliveryDate": 4133404800000,
        "onboardDate": 1569398400000,
        "status": "TRADING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": contract.base,
        "quoteAsset": contract.quote,
        "marginAsset": contract.margin_asset,
        "pricePrecision": 8,
        "quantityPrecision": max(0, -int(contract.step_size.normalize().as_tuple().exponent)),
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": "0.0500",
        "liquidationFee": format(contract.liquidation_fee, "f"),
        "marketTakeBound": "0.05",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "4529764", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "1000000", "stepSize": step},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
        ],
        "orderTypes": ["LIMIT", "MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
    }


def leverage_bracket(contract: Contract) -> Body:
    """One symbol of ``/fapi/v1/leverageBracket``; here, and only here, decimals are JSON numbers."""
    return {"symbol": contract.symbol, "brackets": [_bracket(row) for row in contract.brackets]}


def _bracket(row: Bracket) -> Body:
    return {
        "bracket": row.level,
        "initialLeverage": row.max_leverage,
        "notionalCap": number(row.cap),
        "notionalFloor": number(row.floor),
        "maintMarginRatio": float(row.rate),
        "cum": float(row.cum),
    }


def account_config(account: Account) -> Body:
    """``/fapi/v1/accountConfig``; the ``can...`` flags are the account's, not the key's."""
    return {
        "feeTier": 0,
        "canTrade": True,
        "canDeposit": True,
        "canWithdraw": True,
        "dualSidePosition": account.hedge,
        "updateTime": 0,
        "multiAssetsMargin": account.multi_assets,
        "tradeGroupId": -1,
    }


def symbol_config(account: Account, contract: Contract) -> Body:
    """One row of ``/fapi/v1/symbolConfig``."""
    setting = account.setting(contract.symbol)
    return {
        "symbol": contract.symbol,
        "marginType": "ISOLATED" if setting.isolated else "CROSSED",
        "isAutoAddMargin": False,
        "leverage": setting.leverage,
        "maxNotionalValue": plain(_max_notional(contract, setting.leverage)),
    }


def _max_notional(contract: Contract, leverage: int) -> Decimal:
    return max((row.cap for row in contract.brackets if row.max_leverage >= leverage), default=ZERO)


def initial_margin(account: Account, market: Market, holding: Holding) -> Decimal:
    """Of a position, in its margin asset."""
    return market.notional(holding) / account.setting(holding.symbol).leverage


def order_margin(account: Account, market: Market, asset: str) -> Decimal:
    """Of the resting orders margined in an asset."""
    return sum(
        (
            order.price * order.quantity / account.setting(order.symbol).leverage
            for order in account.orders.values()
            if market.contracts[order.symbol].margin_asset == asset
        ),
        ZERO,
    )


def account_v2(account: Account, market: Market) -> Body:
    """``/fapi/v2/account``: version 3 with the account's flags, and a row for every symbol."""
    body = account_config(account) | account_v3(account, market)
    del body["dualSidePosition"]
    body["positions"] = [
        _account_row(account, market, holding)
        | {
            "leverage": str(account.setting(holding.symbol).leverage),
            "isolated": account.setting(holding.symbol).isolated,
            "entryPrice": plain(holding.entry_price),
            "maxNotional": plain(
                _max_notional(market.contracts[holding.symbol], account.setting(holding.symbol).leverage)
            ),
        }
        for holding in every_holding(account, market.tradable())
    ]
    return body


_TOTALS = {
    "totalInitialMargin": "initialMargin",
    "totalMaintMargin": "maintMargin",
    "totalWalletBalance": "walletBalance",
    "totalUnrealizedProfit": "unrealizedProfit",
    "totalMarginBalance": "marginBalance",
    "totalPositionInitialMargin": "positionInitialMargin",
    "totalOpenOrderInitialMargin": "openOrderInitialMargin",
    "totalCrossWalletBalance": "crossWalletBalance",
    "totalCrossUnPnl": "crossUnPnl",
    "availableBalance": "availableBalance",
    "maxWithdrawAmount": "maxWithdrawAmount",
}
_REQUIREMENTS = {"initialMargin", "maintMargin", "positionInitialMargin", "openOrderInitialMargin"}


def account_v3(account: Account, market: Market) -> Body:
    """``/fapi/v3/account``. Totals count USDT only in single-asset mode, and everything in USD in multi-assets mode."""
    rows = {name: asset_amounts(account, market, name) for name in market.assets}
    body: Body = {}
    for total, key in _TOTALS.items():
        if account.multi_assets:
            value = sum((row[key] * _usd_rate(market, name, key, row[key]) for name, row in rows.items()), ZERO)
        else:
            value = rows["USDT"][key]
        body[total] = amount(value)
    body["assets"] = [
        {"asset": name}
        | {key: amount(value) for key, value in row.items()}
        | {"updateTime": account.wallet_updated_ms.get(name, 0)}
        for name, row in rows.items()
    ]
    body["positions"] = [_account_row(account, market, holding) for holding in shown_holdings(account)]
    return body


def _usd_rate(market: Market, asset: str, key: str, value: Decimal) -> Decimal:
    """Requirements count at the index, what is owned or owed at the asset's bid or ask rate."""
    return market.index(market.assets[asset]) if key in _REQUIREMENTS else market.rate(asset, value)


def asset_amounts(account: Account, market: Market, asset: str) -> dict[str, Decimal]:
    """One of ``assets`` of the account."""
    held = market.margined_in(account.open_holdings(), asset)
    cross = [holding for holding in held if not holding.isolated]
    wallet = market.wallet_balance(account, asset)
    profit = sum(map(market.pnl, held), ZERO)
    cross_wallet = account.cross_wallets.get(asset, ZERO)
    cross_profit = sum(map(market.pnl, cross), ZERO)
    position_margin = sum((initial_margin(account, market, holding) for holding in held), ZERO)
    cross_margin = sum((initial_margin(account, market, holding) for holding in cross), ZERO)
    ordered = order_margin(account, market, asset)
    available = max(ZERO, cross_wallet + cross_profit - cross_margin - ordered)
    return {
        "walletBalance": wallet,
        "unrealizedProfit": profit,
        "marginBalance": wallet + profit,
        "maintMargin": sum(map(market.maintenance, held), ZERO),
        "initialMargin": position_margin + ordered,
        "positionInitialMargin": position_margin,
        "openOrderInitialMargin": ordered,
        "crossWalletBalance": cross_wallet,
        "crossUnPnl": cross_profit,
        "availableBalance": available,
        "maxWithdrawAmount": min(available, cross_wallet),
    }


def shown_holdings(account: Account) -> list[Holding]:
    """What the version 3 endpoints list: symbols with a position or an order, in hedge mode with both their sides."""
    symbols = {holding.symbol for holding in account.open_holdings()}
    symbols |= {order.symbol for order in account.orders.values()}
    return [account.holding(symbol, side) for symbol in sorted(symbols) for side in account.sides()]


def isolated_margin(market: Market, holding: Holding) -> Decimal:
    """Isolated wallet and unrealized profit."""
    return holding.isolated_wallet + market.pnl(holding) if holding.isolated and holding.amount else ZERO


def _signed_notional(market: Market, holding: Holding) -> Decimal:
    return holding.amount * market.marks[holding.symbol]


def _account_row(account: Account, market: Market, holding: Holding) -> Body:
    return {
        "symbol": holding.symbol,
        "positionSide": holding.side.value,
        "positionAmt": plain(holding.amount),
        "unrealizedProfit": amount(market.pnl(holding)),
        "isolatedMargin": amount_or_zero(isolated_margin(market, holding)),
        "notional": amount_or_zero(_signed_notional(market, holding)),
        "isolatedWallet": amount_or_zero(holding.isolated_wallet),
        "initialMargin": amount_or_zero(initial_margin(account, market, holding)),
        "maintMargin": amount_or_zero(market.maintenance(holding)),
        "updateTime": holding.updated_ms,
    }


def liquidation_text(account: Account, market: Market, holding: Holding) -> str:
    """``0`` where there is none."""
    price = engine.liquidation_price(account, market, holding) if holding.amount else None
    return "0" if price is None else amount(price)


def position_risk_v3(account: Account, market: Market, holding: Holding) -> Body:
    """One row of ``/fapi/v3/positionRisk``: no leverage and no margin type."""
    margin = initial_margin(account, market, holding)
    return {
        "symbol": holding.symbol,
        "positionSide": holding.side.value,
        "positionAmt": plain(holding.amount),
        "entryPrice": plain(holding.entry_price),
        "breakEvenPrice": plain(holding.entry_price),
        "markPrice": amount(market.marks[holding.symbol]),
        "unRealizedProfit": amount(market.pnl(holding)),
        "liquidationPrice": liquidation_text(account, market, holding),
        "isolatedMargin": amount_or_zero(isolated_margin(market, holding)),
        "notional": amount_or_zero(_signed_notional(market, holding)),
        "marginAsset": market.contracts[holding.symbol].margin_asset,
        "isolatedWallet": amount_or_zero(holding.isolated_wallet),
        "initialMargin": amount_or_zero(margin),
        "maintMargin": amount_or_zero(market.maintenance(holding)),
        "positionInitialMargin": amount_or_zero(margin),
        "openOrderInitialMargin": "0",
        "adl": 1 if holding.amount else 0,
        "bidNotional": "0",
        "askNotional": "0",
        "updateTime": holding.updated_ms,
    }


def position_risk_v2(account: Account, market: Market, holding: Holding) -> Body:
    """One row of ``/fapi/v2/positionRisk``, which lists every symbol and tells leverage and margin type."""
    setting = account.setting(holding.symbol)
    return {
        "symbol": holding.symbol,
        "positionAmt": plain(holding.amount),
        "entryPrice": plain(holding.entry_price),
        "breakEvenPrice": plain(holding.entry_price),
        "markPrice": amount(market.marks[holding.symbol]),
        "unRealizedProfit": amount(market.pnl(holding)),
        "liquidationPrice": liquidation_text(account, market, holding),
        "leverage": str(setting.leverage),
        "maxNotionalValue": plain(_max_notional(market.contracts[holding.symbol], setting.leverage)),
        "marginType": "isolated" if setting.isolated else "cross",
        "isolatedMargin": amount(isolated_margin(market, holding)),
        "isAutoAddMargin": "false",
        "positionSide": holding.side.value,
        "notional": amount_or_zero(_signed_notional(market, holding)),
        "isolatedWallet": amount_or_zero(holding.isolated_wallet),
        "updateTime": holding.updated_ms,
        "isolated": setting.isolated,
        "adlQuantile": 1 if holding.amount else 0,
    }


def every_holding(account: Account, contracts: Iterable[Contract]) -> list[Holding]:
    """What the version 2 endpoints list: all symbols, flat or not."""
    return [account.holding(contract.symbol, side) for contract in contracts for side in account.sides()]


def premium_index(contract: Contract, mark: Decimal, now_ms: int) -> Body:
    """One row of ``/fapi/v1/premiumIndex``."""
    delivered = contract.contract_type is ContractType.QUARTER
    return {
        "symbol": contract.symbol,
        "markPrice": amount(mark),
        "indexPrice": amount(mark * Decimal("1.0001")),
        "estimatedSettlePrice": amount(mark * Decimal("1.0002")),
        "lastFundingRate": "" if delivered else "0.00010000",
        "interestRate": "" if delivered else "0.00010000",
        "nextFundingTime": 0 if delivered else next_funding_ms(now_ms),
        "time": now_ms,
    }


def asset_index(market: Market, asset: Asset, now_ms: int) -> Body:
    """One row of ``/fapi/v1/assetIndex``."""
    index = market.index(asset)
    return {
        "symbol": f"{asset.name}USD",
        "time": now_ms,
        "index": amount(index),
        "bidBuffer": amount(asset.bid_buffer),
        "askBuffer": amount(asset.ask_buffer),
        "bidRate": amount(index * (ONE - asset.bid_buffer)),
        "askRate": amount(index * (ONE + asset.ask_buffer)),
        "autoExchangeBidBuffer": amount(asset.auto_exchange_buffer),
        "autoExchangeAskBuffer": amount(asset.auto_exchange_buffer),
        "autoExchangeBidRate": amount(index * (ONE - asset.auto_exchange_buffer)),
        "autoExchangeAskRate": amount(index * (ONE + asset.auto_exchange_buffer)),
    }
