"""Frames of the venue's two streams, as objects ready for JSON."""

import zlib
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from connectors.simulator.account import Account, Holding, Market, Order
from connectors.simulator.contracts import Asset, Contract, ContractType
from connectors.simulator.engine import MULTI, Pool
from connectors.simulator.wire import ONE, ZERO, amount, number, plain

Frame = dict[str, Any]

_FUNDING_INTERVAL_MS = 8 * 3600 * 1000
_FUNDING_RATE = Decimal("0.0001")


def next_funding_ms(now_ms: int) -> int:
    """The next full eight hours."""
    return (now_ms // _FUNDING_INTERVAL_MS + 1) * _FUNDING_INTERVAL_MS


def mark_price(contract: Contract, mark: Decimal, average: Decimal, now_ms: int) -> Frame:
    """``markPriceUpdate`` of one contract; one that is delivered has no funding, which the venue writes as ``""``."""
    delivered = contract.contract_type is ContractType.QUARTER
    return {
        "e": "markPriceUpdate",
        "E": now_ms,
        "s": contract.symbol,
        "p": amount(mark),
        "ap": amount(average),
        "P": amount(mark * Decimal("1.0002")),
        "i": amount(mark * Decimal("1.0001")),
        "r": "" if delivered else amount(_FUNDING_RATE),
        "T": 0 if delivered else next_funding_ms(now_ms),
        "st": contract.universe,
    }


def asset_index(market: Market, asset: Asset, now_ms: int) -> Frame:
    """``assetIndexUpdate`` of one margin asset."""
    index = market.index(asset)
    return {
        "e": "assetIndexUpdate",
        "E": now_ms,
        "s": f"{asset.name}USD",
        "i": amount(index),
        "b": amount(asset.bid_buffer),
        "a": amount(asset.ask_buffer),
        "B": amount(index * (ONE - asset.bid_buffer)),
        "A": amount(index * (ONE + asset.ask_buffer)),
        "q": amount(asset.auto_exchange_buffer),
        "g": amount(asset.auto_exchange_buffer),
        "Q": amount(index * (ONE - asset.auto_exchange_buffer)),
        "G": amount(index * (ONE + asset.auto_exchange_buffer)),
    }


def contract_info(contract: Contract, now_ms: int) -> Frame:
    """``contractInfo`` with the bracket table, as sent when brackets change."""
    return {
        "e": "contractInfo",
        "E": now_ms,
        "s": contract.symbol,
        "ps": f"{contract.base}{contract.quote}",
        "ct": contract.contract_type.value,
        "dt": 4133404800000,
        "ot": 1569398400000,
        "cs": "TRADING",
        "bks": [
            {
                "bs": row.level,
                "bnf": number(row.floor),
                "bnc": number(row.cap),
                "mmr": number(row.rate),
                "cf": number(row.cum),
                "mi": 1 if row is contract.brackets[-1] else contract.brackets[row.level].max_leverage + 1,
                "ma": row.max_leverage,
            }
            for row in contract.brackets
        ],
        "st": contract.universe,
    }


def account_update(
    account: Account,
    market: Market,
    now_ms: int,
    reason: str,
    *,
    changes: dict[str, Decimal],
    holdings: Iterable[Holding] = (),
    symbol: str = "",
) -> Frame:
    """``ACCOUNT_UPDATE``. `changes` names the assets to list with their change other than by profit and commission."""
    body: Frame = {
        "m": reason,
        "B": [
            {
                "a": asset,
                "wb": amount(market.wallet_balance(account, asset)),
                "cw": amount(account.cross_wallets.get(asset, ZERO)),
                "bc": plain(change),
            }
            for asset, change in changes.items()
        ],
        "P": [_position_row(market, holding) for holding in holdings],
    }
    if symbol:
        body["S"] = symbol
    return {"e": "ACCOUNT_UPDATE", "T": now_ms, "E": now_ms, "a": body}


def _position_row(market: Market, holding: Holding) -> Frame:
    return {
        "s": holding.symbol,
        "pa": plain(holding.amount),
        "ep": plain(holding.entry_price),
        "cr": plain(holding.realized_pnl),
        "up": amount(market.pnl(holding)) if holding.amount else "0",
        "mt": "isolated" if holding.isolated else "cross",
        "iw": amount(holding.isolated_wallet) if holding.isolated_wallet else "0",
        "ps": holding.side.value,
        "ma": market.contracts[holding.symbol].margin_asset,
        "bep": plain(holding.entry_price),
    }


def leverage_update(symbol: str, leverage: int, now_ms: int) -> Frame:
    """``ACCOUNT_CONFIG_UPDATE`` after a change of leverage."""
    return {"e": "ACCOUNT_CONFIG_UPDATE", "E": now_ms, "T": now_ms, "ac": {"s": symbol, "l": leverage}}


def multi_assets_update(enabled: bool, now_ms: int) -> Frame:
    """``ACCOUNT_CONFIG_UPDATE`` after a change of the multi-assets mode."""
    return {"e": "ACCOUNT_CONFIG_UPDATE", "E": now_ms, "T": now_ms, "ai": {"j": enabled}}


def margin_call(pool: Pool, account: Account, market: Market, now_ms: int) -> Frame:
    """``MARGIN_CALL`` of one pool; the cross wallet is told only where it matters."""
    frame: Frame = {"e": "MARGIN_CALL", "E": now_ms}
    if not pool.isolated:
        asset = "USDT" if pool.scope == MULTI else pool.scope
        frame["cw"] = amount(account.cross_wallets.get(asset, ZERO))
    frame["p"] = [
        {
            "s": holding.symbol,
            "ps": holding.side.value,
            "pa": plain(holding.amount),
            "mt": "ISOLATED" if holding.isolated else "CROSSED",
            "iw": amount(holding.isolated_wallet) if holding.isolated else "0",
            "mp": amount(market.marks[holding.symbol]),
            "up": amount(market.pnl(holding)),
            "mm": amount(market.maintenance(holding)),
        }
        for holding in pool.holdings
    ]
    return frame


def order_update(
    order: Order,
    now_ms: int,
    *,
    execution: str,
    status: str,
    kind: str = "LIMIT",
    filled: Decimal = ZERO,
    fill_price: Decimal = ZERO,
    realized: Decimal = ZERO,
    commission: Decimal = ZERO,
    margin_asset: str = "USDT",
    expiry_reason: str = "0",
) -> Frame:
    """``ORDER_TRADE_UPDATE``; `filled` is the whole quantity when it is not nothing (orders fill at once here)."""
    traded = filled != ZERO
    body: Frame = {
        "s": order.symbol,
        "c": order.client_id,
        "S": "BUY" if order.buy else "SELL",
        "o": kind,
        "f": "IOC" if kind == "LIQUIDATION" else "GTC",
        "q": plain(order.quantity),
        "p": plain(order.price),
        "ap": plain(fill_price),
        "sp": "0",
        "x": execution,
        "X": status,
        "i": order.order_id,
        "l": plain(filled),
        "z": plain(filled),
        "L": plain(fill_price),
        "n": plain(commission),
        "N": margin_asset,
        "T": now_ms,
        "t": order.order_id * 10 if traded else 0,
        "b": "0",
        "a": "0",
        "m": False,
        "R": False,
        "wt": "CONTRACT_PRICE",
        "ot": kind,
        "ps": order.position_side.value,
        "cp": False,
        "rp": amount(realized) if realized else "0",
        "pP": False,
        "si": 0,
        "ss": 0,
        "V": "EXPIRE_MAKER",
        "pm": "NONE",
        "gtd": 0,
        "er": expiry_reason,
    }
    return {"e": "ORDER_TRADE_UPDATE", "T": now_ms, "E": now_ms, "o": body}


def trade_lite(order: Order, price: Decimal, now_ms: int) -> Frame:
    """``TRADE_LITE``, the short form of a fill that runs ahead of the others."""
    return {
        "e": "TRADE_LITE",
        "E": now_ms,
        "T": now_ms,
        "s": order.symbol,
        "q": plain(order.quantity),
        "p": plain(order.price),
        "m": False,
        "c": order.client_id,
        "S": "BUY" if order.buy else "SELL",
        "L": plain(price),
        "l": plain(order.quantity),
        "t": order.order_id * 10,
        "i": order.order_id,
    }


def listen_key_expired(listen_key: str, now_ms: int) -> Frame:
    """``listenKeyExpired``, the last thing a user stream says."""
    return {"e": "listenKeyExpired", "E": now_ms, "listenKey": listen_key}


def listen_key_text(account_name: str, serial: int) -> str:
    """A listenKey: 64 letters and digits, the same for the same account and serial."""
    seeds: Sequence[int] = [zlib.crc32(f"{account_name}/{serial}/{part}".encode()) for part in range(8)]
    return "".join(f"{seed:08x}" for seed in seeds)
